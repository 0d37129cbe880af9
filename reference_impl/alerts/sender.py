"""How a node raises an alert: it is queued, and sent until a sink has taken it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final, NoReturn

import msgspec

from reference_impl.config import Upstream
from reference_impl.resilience.errors import CallError
from reference_impl.resilience.http import HttpClient
from reference_impl.role import Env

QUEUE: Final = 1_000  # alerts that wait; the oldest goes when more come
PAUSE: Final = 1.0  # s between two rounds over the sinks


class AlertSender:
    """Call it to raise an alert; it returns at once. Without a sink it counts and drops."""

    def __init__(self, node: str, sinks: Sequence[Upstream], http: HttpClient, env: Env) -> None:
        self.raised = 0
        self._node = node
        self._sinks = tuple(sinks)
        self._http = http
        self._boot = env.boot
        self._queue: deque[bytes] = deque(maxlen=QUEUE)
        self._news = asyncio.Event()

    def __repr__(self) -> str:
        return f"<AlertSender raised={self.raised} waiting={len(self._queue)}>"

    def __call__(self, name: str, data: dict[str, object]) -> None:
        self.raised += 1
        if not self._sinks:
            return
        report = {
            "name": name,
            "sender": self._node,
            "data": data,
            "id": f"{self._node}/{self._boot}/{self.raised}",
        }
        self._queue.append(msgspec.json.encode(report))
        self._news.set()

    async def run(self) -> NoReturn:
        """Send until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            while self._queue:
                report = self._queue[0]
                if not await self._send(report):
                    await asyncio.sleep(PAUSE)
                elif self._queue and self._queue[0] is report:
                    self._queue.popleft()

    async def _send(self, report: bytes) -> bool:
        for sink in self._sinks:
            try:
                await self._http.request("POST", f"{sink.url}/alerts", body=report)
            except CallError:
                continue
            return True
        return False
