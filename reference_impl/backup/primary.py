"""What is asked of the primary itself: how far its WAL is on its disk, and that it keeps what we have not received."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol

import asyncpg

from reference_impl.backup.wal_names import parse_lsn
from reference_impl.config import Upstream
from reference_impl.resilience.errors import SERVICE_UNAVAILABLE, CallError

WITHIN: Final = 1.0  # s, for a connection and for an answer
FAILURES: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError)


class Primary(Protocol):
    """The server that takes writes. Each call ends in time or raises `CallError`."""

    async def position(self) -> int:
        """Up to where its WAL is on its disk: what must have been shipped for nothing to be lost."""
        ...

    async def keep_wal(self, slot: str) -> bool:
        """Have it keep WAL, from now on, until `slot` has received it; True when it did not yet."""
        ...


class PostgresPrimary:
    """A `Primary`: the first of `servers` that is one. Keeps one connection."""

    def __init__(self, servers: Sequence[Upstream], user: str) -> None:
        self._servers = tuple(servers)
        self._user = user
        self._connection: asyncpg.Connection | None = None
        self._busy = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<PostgresPrimary {'connected' if self._connection else 'not connected'}>"

    async def position(self) -> int:
        async def ask(connection: asyncpg.Connection) -> str:
            # A standby refuses the question.
            return str(await connection.fetchval("SELECT pg_current_wal_flush_lsn()::text"))

        return parse_lsn(await self._call(ask))

    async def keep_wal(self, slot: str) -> bool:
        # pg_receivewal makes slots that keep nothing before they are used: what is recycled until then is missing.
        async def make(connection: asyncpg.Connection) -> bool:
            try:
                await connection.execute(
                    "SELECT pg_create_physical_replication_slot($1, true)", slot
                )
            except asyncpg.DuplicateObjectError:
                return False
            return True

        return bool(await self._call(make))

    def close(self) -> None:
        """Idempotent."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def _call(self, work: Callable[[asyncpg.Connection], Awaitable[Any]]) -> Any:
        failures = []
        async with self._busy:
            for server in self._servers:
                try:
                    async with asyncio.timeout(WITHIN):
                        return await work(await self._connected(server))
                except FAILURES as error:
                    self.close()
                    failures.append(f"{server}: {str(error) or type(error).__name__}")
        raise CallError(SERVICE_UNAVAILABLE, "; ".join(failures))

    async def _connected(self, server: Upstream) -> asyncpg.Connection:
        """The connection that there is, else a new one to `server`."""
        if self._connection is None:
            self._connection = await asyncpg.connect(
                host=server.host,
                port=server.port,
                user=self._user,
                database=self._user,
                ssl=False,
                timeout=WITHIN,
            )
        return self._connection
