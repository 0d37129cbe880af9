"""The versions of flags that are in the database: the part of the log of all changes that is not archived yet."""

from __future__ import annotations

from typing import Any, Final, Protocol

import asyncpg

from reference_impl.propagation.types import Change
from reference_impl.storage.memory import MemoryChangeLog
from reference_impl.storage.postgres import PostgresChangeLog, changes_of

NEWEST: Final = (1 << 63) - 1  # behind every position
_COLUMNS: Final = "seq, org, version, key, flag, at"


class Versions(Protocol):
    """A version of a flag is named by its position in the log. Each call ends within its timeout, or raises `CallError`."""

    async def version(self, org: str, key: str, seq: int) -> Change | None:
        """None where it is not there (any more)."""
        ...

    async def history(self, org: str, key: str, before: int, limit: int) -> list[Change]:
        """The last `limit` versions before position `before`, newest first."""
        ...

    async def changes_since(self, seq: int, limit: int) -> list[Change]:
        """See `ChangeLog.changes_since`: since 0, the oldest that are there."""
        ...

    async def count(self) -> int:
        """How many versions of all flags are there."""
        ...

    async def forget(self, changes: list[Change]) -> None:
        """Delete these, which are the oldest, all or none."""
        ...

    async def close(self) -> None: ...


class PostgresVersions(PostgresChangeLog):
    """`Versions` of a `PostgresChangeLog`'s database. What deletes must be a `writer`; it need not be started."""

    async def version(self, org: str, key: str, seq: int) -> Change | None:
        rows = await self._select("org = $1 AND key = $2 AND seq = $3", org, key, seq)
        return rows[0] if rows else None

    async def history(self, org: str, key: str, before: int, limit: int) -> list[Change]:
        return await self._select(
            "org = $1 AND key = $2 AND seq < $3 ORDER BY seq DESC LIMIT $4", org, key, before, limit
        )

    async def count(self) -> int:
        async def read(connection: asyncpg.Connection) -> int:
            return int(await connection.fetchval("SELECT count(*) FROM changes"))

        return await self._call(read, self.settings.bulk_timeout)

    async def forget(self, changes: list[Change]) -> None:
        positions = [change.seq for change in changes]

        async def delete(connection: asyncpg.Connection) -> None:
            await connection.execute("DELETE FROM changes WHERE seq = ANY($1::bigint[])", positions)

        await self._call(delete, self.settings.bulk_timeout)

    async def _select(self, where: str, *args: Any) -> list[Change]:
        async def read(connection: asyncpg.Connection) -> Any:
            return await connection.fetch(
                f"SELECT {_COLUMNS} FROM changes WHERE {where}",  # noqa: S608 - constants
                *args,
            )

        return changes_of(await self._call(read, self.settings.call_timeout))


class MemoryVersions(MemoryChangeLog):
    """`Versions` of a `MemoryDatabase`."""

    async def version(self, org: str, key: str, seq: int) -> Change | None:
        found = await self.history(org, key, seq + 1, 1)
        return found[0] if found and found[0].seq == seq else None

    async def history(self, org: str, key: str, before: int, limit: int) -> list[Change]:
        self._reach()
        log = reversed(self._database.log)
        found = [c for c in log if (c.org, c.key) == (org, key) and c.seq < before]
        return found[:limit]

    async def changes_since(self, seq: int, limit: int) -> list[Change]:
        self._reach()
        return [change for change in self._database.log if change.seq > seq][:limit]

    async def count(self) -> int:
        self._reach()
        return len(self._database.log)

    async def forget(self, changes: list[Change]) -> None:
        self._reach()
        gone = {change.seq for change in changes}
        self._database.log[:] = [c for c in self._database.log if c.seq not in gone]
