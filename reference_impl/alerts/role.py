"""The alert sink: where nodes tell the people on duty what happened ("AlertOps")."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Final

import msgspec
from aiohttp import web

from reference_impl.config import NodeConfig
from reference_impl.role import Env
from reference_impl.web import Site, error_response, json_response

KEPT: Final = 10_000


class AlertSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The role has no settings."""


class Report(msgspec.Struct, frozen=True):
    """What a node sends. The same `id` twice is one alert: a sender whose answer was lost sends again."""

    name: str
    sender: str
    data: dict[str, Any] = {}
    id: str = ""


class Alert(msgspec.Struct, frozen=True):
    """`n` counts from 1. `at` is when it came, in ns of the monotonic clock."""

    n: int
    at: int
    name: str
    sender: str
    data: dict[str, Any]


class AlertSink:
    """A `Role`. Keeps the last `KEPT` alerts in memory."""

    def __init__(self, config: NodeConfig, env: Env) -> None:
        config.settings_as(AlertSettings)
        self.config = config
        self.env = env
        self.alerts: deque[Alert] = deque(maxlen=KEPT)
        self._count = 0
        self._ids: dict[str, None] = {}
        self.site = Site(self._status, lambda: None)
        self.site.get("/alerts", self._list)
        self.site.add("POST", "/alerts", self._take)

    def __repr__(self) -> str:
        return f"<AlertSink {self.config.name} alerts={self._count}>"

    async def start(self) -> None:
        await self.site.start(self.config.listen.host, self.config.listen.port)

    async def stop(self) -> None:
        await self.site.stop()

    def _status(self) -> dict[str, Any]:
        return {
            "node": self.config.name,
            "role": self.config.role,
            "boot": self.env.boot,
            "alerts": self._count,
        }

    async def _take(self, request: web.Request) -> web.Response:
        try:
            report = msgspec.json.decode(await request.read(), type=Report)
        except msgspec.DecodeError as error:
            return error_response(400, str(error))
        if report.id not in self._ids:
            self._keep(report)
        return json_response({"n": self._count})

    def _keep(self, report: Report) -> None:
        if report.id:
            self._ids[report.id] = None
            if len(self._ids) > KEPT:
                del self._ids[next(iter(self._ids))]
        self._count += 1
        at = round(asyncio.get_running_loop().time() * 1e9)
        self.alerts.append(Alert(self._count, at, report.name, report.sender, report.data))

    async def _list(self, request: web.Request) -> web.Response:
        """Alerts with a number above `since`."""
        since = request.query.get("since", "0")
        if not (since.isascii() and since.isdigit()):
            return error_response(400, f"since={since!r} is no number")
        return json_response({"alerts": [a for a in self.alerts if a.n > int(since)]})
