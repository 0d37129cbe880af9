"""The archiver ("Archive old versions"): moves old versions of flags from the database to an object store."""

from __future__ import annotations

import asyncio
from typing import Any, NoReturn

from reference_impl.archive.policy import ArchiveSettings, due
from reference_impl.archive.segments import encode, grouped, key_of
from reference_impl.clock import PlatformClock, stamp
from reference_impl.config import NodeConfig
from reference_impl.objectstore.base import ObjectStore
from reference_impl.objectstore.http import HttpObjectStore, StoreSettings
from reference_impl.propagation.types import Change
from reference_impl.resilience.errors import INVALID, CallError
from reference_impl.resilience.http import HttpClient
from reference_impl.role import Env
from reference_impl.storage.postgres import DatabaseSettings
from reference_impl.storage.versions import PostgresVersions, Versions
from reference_impl.web import Site, Tasks


class ArchiverSettings(ArchiveSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    database: DatabaseSettings = DatabaseSettings()
    store: StoreSettings = StoreSettings()


class Archiver:
    """A `Role`. `versions` and `store` can be given; else those of the "db" links, and the first of the "store" links.

    It keeps nothing of its own: a step that was broken off is done again, and what was archived twice is the same.
    """

    def __init__(
        self,
        config: NodeConfig,
        env: Env,
        versions: Versions | None = None,
        store: ObjectStore | None = None,
    ) -> None:
        self.config = config
        self.env = env
        self.settings = settings = config.settings_as(ArchiverSettings)
        self.clock = PlatformClock(env.wall_ns)
        self.http = HttpClient()
        self.versions: Versions = versions or PostgresVersions(
            config.upstreams("db"), settings.database, writer=True, name=config.name
        )
        self.store: ObjectStore = store or HttpObjectStore(
            config.upstream("store"), settings.store, self.http, env.random
        )
        self.hot = self.archived = self.segments = 0
        self.settled = False
        self.error: CallError | None = None
        self._wake = asyncio.Event()
        self._tasks = Tasks()
        self.site = Site(self._status, lambda: None)
        self.clock.serve(self.site, self._moved)

    def __repr__(self) -> str:
        return f"<Archiver {self.config.name} hot={self.hot} archived={self.archived} {self.error or 'well'}>"

    async def start(self) -> None:
        await self.site.start(self.config.listen.host, self.config.listen.port)
        self._tasks.start(self._run, "archive")

    async def stop(self) -> None:
        await self.site.stop()
        await self._tasks.stop()
        await self.versions.close()
        await self.http.close()

    async def step(self) -> int:
        """Archive what is due of the oldest versions; returns how many. Raises `CallError`; to do it again is safe."""
        self.hot = await self.versions.count()
        oldest = await self.versions.changes_since(0, self.settings.batch)
        old = due(oldest, self.hot, self.clock.now(), self.settings)
        if not old:
            return 0
        for changes in grouped(old):
            await self.keep(changes)
        # Only now: whatever happens before, each version is still in the database.
        await self.versions.forget(old)
        self.hot -= len(old)
        self.archived += len(old)
        return len(old)

    async def keep(self, changes: list[Change]) -> None:
        """Put one flag's versions into the store, and see that they are there. Raises `CallError`."""
        key, body = key_of(changes), encode(changes)
        await self.store.put(key, body)
        if await self.store.get(key) != body:
            raise CallError(INVALID, f"{self.store.name}: {key} is not what was put")
        self.segments += 1

    async def _run(self) -> NoReturn:
        while True:
            self._wake.clear()
            try:
                moved = await self.step()
            except CallError as error:
                self.error, self.settled, moved = error, False, 0
            else:
                self.error = None
                self.settled = not moved and not self._wake.is_set()
            if not moved:
                await self._rest()

    async def _rest(self) -> None:
        try:
            async with asyncio.timeout(self.settings.every):
                await self._wake.wait()
        except TimeoutError:
            return

    def _moved(self) -> None:
        self.settled = False
        self._wake.set()

    def _status(self) -> dict[str, Any]:
        return {
            "node": self.config.name,
            "role": self.config.role,
            "boot": self.env.boot,
            "clock": stamp(self.clock.now()),
            "hot": self.hot,
            "archived": self.archived,
            "segments": self.segments,
            "settled": self.settled,
            "error": str(self.error) if self.error else None,
        }
