"""The change log in memory. Clients of one `MemoryDatabase` share it, as processes share a server."""

from __future__ import annotations

import asyncio

from reference_impl.propagation.store import Store
from reference_impl.propagation.types import Change, Flag, FlagState, OrgState, Snapshot
from reference_impl.resilience.errors import CallError


class MemoryDatabase:
    """`broken`: the kind of error that every call raises now, or None."""

    def __init__(self) -> None:
        self.broken: str | None = None
        self.store = Store()
        self.log: list[Change] = []
        self.written = asyncio.Event()

    def __repr__(self) -> str:
        return f"<MemoryDatabase {self.broken or 'well'} seq={self.store.seq}>"


class MemoryChangeLog:
    """A `ChangeLog`."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    def __repr__(self) -> str:
        return f"<MemoryChangeLog of {self._database!r}>"

    async def put_flag(self, org: str, key: str, definition: Flag | None, at: int) -> Change:
        store = self._reach()
        version = store.orgs[org].version + 1 if org in store.orgs else 1
        change = Change(store.seq + 1, org, version, key, definition, at)
        store.apply(change)
        self._database.log.append(change)
        written, self._database.written = self._database.written, asyncio.Event()
        written.set()
        return change

    async def get(self, org: str, key: str) -> tuple[FlagState, int] | None:
        found = self._reach().orgs.get(org)
        if found is None or key not in found.flags:
            return None
        return found.flags[key], found.version

    async def list_org(self, org: str) -> OrgState | None:
        return self._reach().snapshot().orgs.get(org)

    async def snapshot(self) -> Snapshot:
        return self._reach().snapshot()

    async def changes_since(self, seq: int, limit: int) -> list[Change]:
        self._reach()
        return self._database.log[seq : seq + limit]

    async def news(self, within: float) -> None:
        try:
            async with asyncio.timeout(within):
                await self._database.written.wait()
        except TimeoutError:
            return

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    def _reach(self) -> Store:
        if self._database.broken is not None:
            raise CallError(self._database.broken, "database")
        return self._database.store
