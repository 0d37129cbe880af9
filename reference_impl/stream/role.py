"""The stream server: reads the change log and fans it out. Any number of them may run side by side."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Final, NoReturn

import msgspec

from reference_impl.capacity.load import Gauge
from reference_impl.config import NodeConfig, Positive
from reference_impl.propagation.fanout import FanOut
from reference_impl.propagation.prewarm import Relay
from reference_impl.propagation.settings import FanOutSettings
from reference_impl.propagation.store import Store
from reference_impl.resilience.errors import CallError
from reference_impl.resilience.http import HttpClient
from reference_impl.role import Env
from reference_impl.storage.base import ChangeLog
from reference_impl.storage.postgres import DatabaseSettings, PostgresChangeLog
from reference_impl.web import Site, Tasks, prewarm_handler, stream_handler

BATCH: Final = 500  # changes in one read
POLL: Final = 1.0  # s; a safety net under the database's notifications


class StreamSettings(FanOutSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`upstream_grace`: after so many s without the database it ends its streams, for it may be behind.

    `memory_limit`: bytes that it may use; 0: all of the machine's.
    """

    database: DatabaseSettings = DatabaseSettings()
    upstream_grace: Positive = 10.0
    retry: Positive = 0.25
    memory_limit: Annotated[int, msgspec.Meta(ge=0)] = 0


class StreamServer:
    """A `Role`. `log` can be given; else PostgreSQL of the "db" links."""

    def __init__(self, config: NodeConfig, env: Env, log: ChangeLog | None = None) -> None:
        self.config = config
        self.env = env
        self.settings = config.settings_as(StreamSettings)
        self.log: ChangeLog = log or PostgresChangeLog(
            config.upstreams("db"), self.settings.database, writer=False, name=config.name
        )
        self.store = Store(self.settings.ring)
        self.fanout = FanOut(self.store, self.settings)
        self._http = HttpClient()
        self.relay = Relay(self.fanout, config.upstreams("peer"), self._http, env.random)
        self.gauge = Gauge(self.settings.memory_limit)
        self.error: CallError | None = None
        self._tasks = Tasks()
        self.site = Site(self._status, lambda: self.fanout.unready)
        self.site.get("/stream", stream_handler(self.fanout))
        self.site.add("POST", "/prewarm", prewarm_handler(self.relay))

    def __repr__(self) -> str:
        return f"<StreamServer {self.config.name} {self.fanout!r}>"

    async def start(self) -> None:
        await self.log.start()
        self._tasks.start(self._follow, "follow the log")
        self._tasks.start(self.relay.run, "prewarms")
        await self.site.start(self.config.listen.host, self.config.listen.port)

    async def stop(self) -> None:
        self.fanout.suspend("stopping")
        await self._tasks.stop()
        await self.site.stop()
        await self._http.close()
        await self.log.close()

    def _status(self) -> dict[str, Any]:
        return {
            "node": self.config.name,
            "role": self.config.role,
            "boot": self.env.boot,
            "seq": self.store.seq,
            "upstream": None if self.error else "db",
            "error": self.error.kind if self.error else None,
            "subscribers": self.fanout.subscribers,
            "dropped": self.fanout.dropped,
            "refusing": self.fanout.unready,
            "prewarms": self.relay.passed,
            "load": self.gauge.figures(self.fanout.subscribers),
        }

    async def _follow(self) -> NoReturn:
        """Bring every change of the log into the store, for as long as the role runs."""
        loop = asyncio.get_running_loop()
        seen = loop.time()
        while True:
            try:
                await self._read()
            except CallError as error:
                self.error = error
                if loop.time() - seen > self.settings.upstream_grace:
                    self.fanout.suspend("the database can't be reached")
                await asyncio.sleep(self.settings.retry)
                continue
            self.error = None
            self.fanout.resume()
            seen = loop.time()
            await self.log.news(POLL)

    async def _read(self) -> None:
        """Read all there is now. Where the log does not follow on what we have, start again from a snapshot."""
        if not self.store.loaded:
            self.store.replace(await self.log.snapshot())
        while changes := await self.log.changes_since(self.store.seq, BATCH):
            for change in changes:
                if not self.store.apply(change):
                    self.store.replace(await self.log.snapshot())
                    break
