"""The cache of flag configurations in memory. Clients of one `CacheMemory` share it, as processes share servers."""

from __future__ import annotations

import asyncio
from typing import Any

from reference_impl.cache.base import Entry, Miss
from reference_impl.resilience.errors import CallError

Name = tuple[str, str]


class CacheMemory:
    """`broken`: the kind of error that every call raises now, or None."""

    def __init__(self) -> None:
        self.broken: str | None = None
        self.entries: dict[Name, tuple[Entry, float]] = {}  # until when, by the loop's clock
        self.locks: dict[Name, float] = {}

    def __repr__(self) -> str:
        return f"<CacheMemory {self.broken or 'well'} entries={len(self.entries)}>"

    def wipe(self) -> None:
        """Lose all, as started anew."""
        self.entries.clear()
        self.locks.clear()


class MemoryCache:
    """A `ConfigCache`."""

    def __init__(self, memory: CacheMemory) -> None:
        self._memory = memory

    def __repr__(self) -> str:
        return f"<MemoryCache of {self._memory!r}>"

    async def look(self, org: str, key: str, hold: float) -> Entry | Miss:
        memory, now = self._reach(), _now()
        entry = self._valid((org, key))
        if entry is not None:
            return entry
        mine = memory.locks.get((org, key), now) <= now
        if mine:
            memory.locks[org, key] = now + hold
        return Miss(mine)

    async def store(self, org: str, key: str, entry: Entry, until: float) -> None:
        memory, present = self._reach(), self._valid((org, key))
        if until > _now() and (present is None or present.seq <= entry.seq):
            memory.entries[org, key] = entry, until

    def status(self) -> dict[str, Any]:
        return {"nodes": {"memory": {"state": self._memory.broken or "CLOSED"}}}

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    def _valid(self, name: Name) -> Entry | None:
        entry, until = self._memory.entries.get(name, (None, 0.0))
        return entry if until > _now() else None

    def _reach(self) -> CacheMemory:
        if self._memory.broken is not None:
            raise CallError(self._memory.broken, "cache")
        return self._memory


def _now() -> float:
    return asyncio.get_running_loop().time()
