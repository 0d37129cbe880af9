"""Reads of flags through the cache: the database is asked once for what is not there, by whatever number of readers."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, OrderedDict
from enum import StrEnum
from typing import Any

from reference_impl.cache.base import CacheSettings, ConfigCache, Entry, Miss
from reference_impl.propagation.types import Change, FlagState
from reference_impl.resilience.errors import CallError
from reference_impl.storage.base import ChangeLog

Name = tuple[str, str]


class Source(StrEnum):
    CACHE = "hits"
    DATABASE = "misses"
    SHELTER = "sheltered"


Found = tuple[Entry, Source]


class Shelter:
    """What the database said while the cache was lost, each for a moment: the last `size` flags."""

    def __init__(self, size: int, hold: float) -> None:
        self.size = size
        self.hold = hold
        self._entries: OrderedDict[Name, tuple[Entry, float]] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Shelter {len(self._entries)} of {self.size}, for {self.hold} s>"

    def get(self, name: Name) -> Entry | None:
        entry, until = self._entries.get(name, (None, 0.0))
        return entry if until > _now() else None

    def put(self, name: Name, entry: Entry, began: float) -> None:
        """Keep what a read that began at `began`, or a write, has told; never in the place of something newer."""
        present = self.get(name)
        if present is None or present.seq <= entry.seq:
            self._entries[name] = entry, began + self.hold
            self._entries.move_to_end(name)
        while len(self._entries) > self.size:
            self._entries.popitem(last=False)


class CachedReads:
    """`get` is `ChangeLog.get`, at most `ttl` s old.

    Each reader counts once, by where the answer was found: `hits`, `misses` (the database), `sheltered` or `bypassed`.
    `database_reads` is what all of them cost, `errors` counts failed calls to the cache.
    """

    def __init__(
        self, log: ChangeLog, cache: ConfigCache, settings: CacheSettings, chance: random.Random
    ) -> None:
        self.cache = cache
        self.settings = settings
        self.readers = Counter[Source]()
        self.errors = self.database_reads = self.shared = self.bypassed = 0
        self.shelter = Shelter(settings.sheltered, settings.shelter)
        self._log = log
        self._chance = chance
        self._flying: dict[Name, asyncio.Task[Found]] = {}
        self._storing: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<CachedReads {dict(self.readers)} errors={self.errors} {self.cache!r}>"

    async def start(self) -> None:
        await self.cache.start()

    async def close(self) -> None:
        tasks = [*self._flying.values(), *self._storing]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self.cache.close()

    def status(self) -> dict[str, Any]:
        return {
            **{str(source): self.readers[source] for source in Source},
            "errors": self.errors,
            "database_reads": self.database_reads,
            "shared": self.shared,
            "bypassed": self.bypassed,
            **self.cache.status(),
        }

    async def get(
        self, org: str, key: str, *, bypass: bool = False
    ) -> tuple[FlagState, int] | None:
        """`bypass`: from the database, whatever is cached. Raises `CallError` where the database is needed and fails."""
        name = (org, key)
        if bypass:
            self.bypassed += 1
            return (await self._read(name)).found
        flight = self._flying.get(name)
        if flight is None:
            flight = asyncio.create_task(self._find(name), name=f"read {org}/{key}")
            self._flying[name] = flight
            flight.add_done_callback(lambda done: self._landed(name, done))
        else:
            self.shared += 1
        # One reader who hangs up must not take the answer from the others.
        entry, source = await asyncio.shield(flight)
        self.readers[source] += 1
        return entry.found

    async def wrote(self, change: Change) -> None:
        """What was just committed replaces what is cached; where that fails, the old value ends with its `ttl`."""
        name, began = (change.org, change.key), _now()
        self.shelter.put(name, Entry.written(change), began)
        await self._store(name, Entry.written(change), began)

    async def _find(self, name: Name) -> Found:
        try:
            found = await self._look(name)
        except CallError:
            self.errors += 1
            return await self._without(name)
        if isinstance(found, Entry):
            return found, Source.CACHE
        return await self._read(name), Source.DATABASE

    async def _look(self, name: Name) -> Entry | Miss:
        """An entry; or a miss for us to fill. Waits for whoever else fills it, up to `hold` s."""
        deadline = _now() + self.settings.hold
        while True:
            found = await self.cache.look(*name, self.settings.hold)
            if isinstance(found, Entry) or found.mine or _now() >= deadline:
                return found
            await asyncio.sleep(self.settings.poll)

    async def _without(self, name: Name) -> Found:
        """The cache is lost: the database bears that by what each server asks it, not by what is asked of each server."""
        entry = self.shelter.get(name)
        if entry is not None:
            return entry, Source.SHELTER
        return await self._read(name), Source.DATABASE

    async def _read(self, name: Name) -> Entry:
        began = _now()
        self.database_reads += 1
        entry = Entry.read(await self._log.get(*name))
        self.shelter.put(name, entry, began)
        task = asyncio.create_task(self._store(name, entry, began), name="fill the cache")
        self._storing.add(task)
        task.add_done_callback(self._storing.discard)
        return entry

    async def _store(self, name: Name, entry: Entry, began: float) -> None:
        """`began`: when the database was asked. From then on it can be out of date, so from then on its time runs."""
        ttl = self.settings.ttl * (1 - self._chance.uniform(0, self.settings.jitter))
        try:
            await self.cache.store(*name, entry, began + ttl)
        except CallError:
            self.errors += 1

    def _landed(self, name: Name, done: asyncio.Task[Found]) -> None:
        self._flying.pop(name, None)
        if not done.cancelled():
            done.exception()  # whoever waits is told; nobody may be left to


def _now() -> float:
    return asyncio.get_running_loop().time()
