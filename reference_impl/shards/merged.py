"""One log of all shards' logs, for streams: what it must do, in memory and in PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from typing import Protocol

import asyncpg
import msgspec

from reference_impl.config import Upstream
from reference_impl.propagation.types import Change
from reference_impl.resilience.errors import INVALID, CallError
from reference_impl.storage.memory import MemoryChangeLog, MemoryDatabase
from reference_impl.storage.postgres import DatabaseSettings, PostgresChangeLog


class MergedLog(Protocol):
    """Also a `ChangeLog`. Each call ends within its timeout, or raises `CallError`."""

    async def position(self, source: str) -> int:
        """Up to where it has that source's log; 0 for nothing."""
        ...

    async def merge(self, source: str, changes: Sequence[Change]) -> None:
        """Append changes of one source, in its order, all or none; those that are here already are passed over.

        Raises `CallError` INVALID where an organisation's version does not follow on what is here.
        """
        ...

    async def start(self) -> None: ...

    async def close(self) -> None: ...


class MemoryMergedLog(MemoryChangeLog):
    """A `MergedLog`."""

    def __init__(self, database: MemoryDatabase) -> None:
        super().__init__(database)
        self._positions: dict[str, int] = {}

    async def position(self, source: str) -> int:
        self._reach()
        return self._positions.get(source, 0)

    async def merge(self, source: str, changes: Sequence[Change]) -> None:
        has = {org: state.version for org, state in self._reach().orgs.items()}
        fresh = []
        for change in changes:
            version = has.get(change.org, 0)
            if change.version > version + 1:
                detail = f"{change.org}: {change.version} of {source} does not follow {version}"
                raise CallError(INVALID, detail)
            if change.version == version + 1:
                has[change.org] = change.version
                fresh.append(change)
        for change in fresh:
            await self.put_flag(change.org, change.key, change.flag, change.at)
        if changes:
            last = max(self._positions.get(source, 0), changes[-1].seq)
            self._positions[source] = last


class PostgresMergedLog(PostgresChangeLog):
    """A `MergedLog`."""

    def __init__(
        self, servers: Sequence[Upstream], settings: DatabaseSettings, client: str
    ) -> None:
        super().__init__(servers, settings, writer=True, name=client)

    def _schema(self) -> str:
        own = resources.files(__package__).joinpath("merged.sql").read_text()
        return f"{super()._schema()}\n{own}"

    async def position(self, source: str) -> int:
        async def read(connection: asyncpg.Connection) -> int:
            seq = await connection.fetchval("SELECT seq FROM merged WHERE source = $1", source)
            return int(seq or 0)

        return await self._call(read, self.settings.call_timeout)

    async def merge(self, source: str, changes: Sequence[Change]) -> None:
        async def take(connection: asyncpg.Connection) -> None:
            async with connection.transaction():
                await connection.executemany(
                    "SELECT merge_change($1, $2, $3, $4, $5, $6, $7)",
                    [(source, c.seq, c.org, c.version, c.key, _text(c), c.at) for c in changes],
                )

        await self._call(take, self.settings.bulk_timeout)


def _text(change: Change) -> str | None:
    return None if change.flag is None else msgspec.json.encode(change.flag).decode()
