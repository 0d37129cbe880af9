"""The merger: brings the logs of all databases with shards into one, from which stream servers read as from any other.

Its positions are of that log alone, gapless and the same for all who read it. An organisation's changes are in the order of its versions,
also across a move: its new database has all of them from the first one on.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any, Final, NoReturn

import msgspec

from reference_impl.config import NodeConfig, Positive
from reference_impl.resilience.errors import CallError
from reference_impl.role import Env
from reference_impl.shards.merged import MergedLog, PostgresMergedLog
from reference_impl.storage.base import ChangeLog
from reference_impl.storage.postgres import DatabaseSettings, PostgresChangeLog
from reference_impl.web import Site, Tasks

BATCH: Final = 200  # changes in one transaction
POLL: Final = 1.0  # s; a safety net under the databases' notifications


class MergerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`retry` in s, after a failed call."""

    database: DatabaseSettings = DatabaseSettings()
    retry: Positive = 0.25


class Merger:
    """A `Role`. Links: "shard" to the databases with shards, "db" to the one for the common log. Both can be given."""

    def __init__(
        self,
        config: NodeConfig,
        env: Env,
        sources: dict[str, ChangeLog] | None = None,
        log: MergedLog | None = None,
    ) -> None:
        self.config = config
        self.env = env
        self.settings = settings = config.settings_as(MergerSettings)
        self.sources: dict[str, ChangeLog] = sources or {
            link.to: PostgresChangeLog([link], settings.database, writer=False, name=config.name)
            for link in config.upstreams("shard")
        }
        self.log: MergedLog = log or PostgresMergedLog(
            config.upstreams("db"), settings.database, config.name
        )
        self.positions: dict[str, int] = {}
        self.errors: dict[str, str] = {}
        self._tasks = Tasks()
        self.site = Site(self._status, lambda: None)

    def __repr__(self) -> str:
        return f"<Merger {self.config.name} {self.positions} {self.errors or 'well'}>"

    async def start(self) -> None:
        await self.log.start()
        for name, source in self.sources.items():
            await source.start()
            self._tasks.start(partial(self._follow, name, source), f"log of {name}")
        await self.site.start(self.config.listen.host, self.config.listen.port)

    async def stop(self) -> None:
        await self._tasks.stop()
        await self.site.stop()
        for source in self.sources.values():
            await source.close()
        await self.log.close()

    async def _follow(self, name: str, source: ChangeLog) -> NoReturn:
        """Each source for itself: one that is away holds up no other."""
        while True:
            try:
                await self._bring(name, source)
            except CallError as error:
                self.errors[name] = str(error)
                await asyncio.sleep(self.settings.retry)
                continue
            self.errors.pop(name, None)
            await source.news(POLL)

    async def _bring(self, name: str, source: ChangeLog) -> None:
        """All that there is now. What is missing in between belongs to organisations that have left."""
        self.positions[name] = await self.log.position(name)
        while changes := await source.changes_since(self.positions[name], BATCH):
            await self.log.merge(name, changes)
            self.positions[name] = changes[-1].seq

    def _status(self) -> dict[str, Any]:
        return {
            "node": self.config.name,
            "role": self.config.role,
            "boot": self.env.boot,
            "positions": self.positions,
            "errors": self.errors,
        }
