"""How long a hub's heartbeats take to its PoPs: a PoP sends each one's stamp back, and the hub reads its own clock.

One clock measures, so no two need agree. What is measured is the way there and back; the way back is part of it because
what a hub promises is that a PoP *has* its news, which it can't know sooner.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from typing import Final

import msgspec
from aiohttp import web

from reference_impl.config import Upstream
from reference_impl.propagation.types import Heartbeat
from reference_impl.resilience.errors import CallError
from reference_impl.resilience.http import HttpClient
from reference_impl.web import error_response, json_response

TICK: Final = 0.001  # s; the clock may have been read in its whole milliseconds
MOST: Final = 10_000  # echoes kept, whatever the window
WITHIN: Final = 5.0  # s for an echo to arrive: a slow link's must, or it would look like a fast one


class Stamp(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `POST /echo`: a heartbeat's `at`, as it came."""

    at: int


class Echo:
    """The PoP's side. Call it with each heartbeat; it returns at once. One echo is under way at a time."""

    def __init__(self, http: HttpClient) -> None:
        self._http = http
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Echo {'under way' if self._busy else 'idle'}>"

    def __call__(self, upstream: Upstream, beat: Heartbeat) -> None:
        if beat.at and not self._busy:
            self._task = asyncio.create_task(self._send(upstream, beat.at), name="echo")

    def stop(self) -> None:
        """Idempotent."""
        if self._task is not None:
            self._task.cancel()

    @property
    def _busy(self) -> bool:
        return self._task is not None and not self._task.done()

    async def _send(self, upstream: Upstream, at: int) -> None:
        body = msgspec.json.encode(Stamp(at))
        try:
            await self._http.request("POST", f"{upstream.url}/echo", body=body, within=WITHIN)
        except CallError:
            return  # the stream itself will tell whether the hub is lost


class Echoes:
    """The hub's side: delays of the last `window` s."""

    def __init__(self, window: float) -> None:
        self._window = window
        self._seen: deque[tuple[float, float]] = deque(maxlen=MOST)  # when it came, delay; s

    def __repr__(self) -> str:
        return f"<Echoes {len(self._seen)} p99={self.p99_ms()} ms>"

    def take(self, at: int) -> None:
        """A heartbeat sent at `at` (ns of the loop's clock) came back now. Raises `ValueError` for a time to come."""
        now = asyncio.get_running_loop().time()
        if (delay := now - at / 1e9) < -TICK:
            raise ValueError(f"a heartbeat of {-delay:.3f} s from now")
        self._seen.append((now, delay))

    def p99_ms(self) -> float | None:
        """The nearest-rank 99th percentile in ms; None where no PoP has answered for a whole window."""
        since = asyncio.get_running_loop().time() - self._window
        while self._seen and self._seen[0][0] < since:
            self._seen.popleft()
        if not self._seen:
            return None
        delays = sorted(delay for _, delay in self._seen)
        return delays[math.ceil(0.99 * len(delays)) - 1] * 1000

    async def handle(self, request: web.Request) -> web.Response:
        """`POST /echo {"at": n}`."""
        try:
            self.take(msgspec.json.decode(await request.read(), type=Stamp).at)
        except (msgspec.DecodeError, ValueError) as error:
            return error_response(400, f"not an echo: {error}")
        return json_response({})
