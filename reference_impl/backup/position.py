"""How far the primary's WAL is on its disk: what must have been shipped for nothing to be lost."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import asyncpg

from reference_impl.backup.wal_names import parse_lsn
from reference_impl.config import Upstream
from reference_impl.resilience.errors import SERVICE_UNAVAILABLE, CallError

WITHIN: Final = 1.0  # s, for a connection and for an answer
FAILURES: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError)


class PrimaryPosition:
    """Call it for the primary's position; keeps one connection. Raises `CallError` SERVICE_UNAVAILABLE."""

    def __init__(self, servers: Sequence[Upstream], user: str) -> None:
        self._servers = tuple(servers)
        self._user = user
        self._connection: asyncpg.Connection | None = None

    def __repr__(self) -> str:
        return f"<PrimaryPosition {'connected' if self._connection else 'not connected'}>"

    async def __call__(self) -> int:
        failures = []
        for server in self._servers:
            try:
                async with asyncio.timeout(WITHIN):
                    return await self._ask(server)
            except FAILURES as error:
                self.close()
                failures.append(f"{server}: {str(error) or type(error).__name__}")
        raise CallError(SERVICE_UNAVAILABLE, "; ".join(failures))

    def close(self) -> None:
        """Idempotent."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def _ask(self, server: Upstream) -> int:
        """From the connection that there is, else from a new one to `server`. A standby refuses the question."""
        if self._connection is None:
            self._connection = await asyncpg.connect(
                host=server.host,
                port=server.port,
                user=self._user,
                database=self._user,
                ssl=False,
                timeout=WITHIN,
            )
        return parse_lsn(await self._connection.fetchval("SELECT pg_current_wal_flush_lsn()::text"))
