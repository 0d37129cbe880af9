"""A PostgreSQL server as a child of this node, on a restored data directory."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import asyncpg
import msgspec

from reference_impl.config import Positive
from reference_impl.programs import ProgramError, end, own, start
from reference_impl.storage.postgres import move_on

STOP_WITHIN: Final = 1.5  # s, for a fast shutdown
JUMP_WITHIN: Final = 5.0  # s
POLL: Final = 0.1  # s
# What a restored server must not take from where it ran before; the rest is in its data directory.
OPTIONS: Final = {
    "unix_socket_directories": "",
    "dynamic_shared_memory_type": "mmap",
    "shared_buffers": "32MB",
    "logging_collector": "off",
}


class ServerError(Exception):
    """It did not come up: what was seen last."""


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`options` are laid over `OPTIONS`, by PostgreSQL's names. `within`: s for recovery."""

    user: str = "squall"
    port: int = 5432
    within: Positive = 600.0
    options: dict[str, str] = {}


class Server:
    """PostgreSQL refuses to run as root: then it runs as nobody, who must own its files."""

    def __init__(self, data_dir: Path, host: str, settings: ServerSettings) -> None:
        self.data_dir = data_dir
        self.host = host
        self.settings = settings
        self._process: asyncio.subprocess.Process | None = None

    def __repr__(self) -> str:
        state = f"pid {self._process.pid}" if self.running and self._process else "down"
        return f"<Server {self.host}:{self.settings.port} {state}>"

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Returns when it takes writes: recovery is over. Raises `ServerError`."""
        options = {
            **OPTIONS,
            **self.settings.options,
            "listen_addresses": self.host,
            "port": str(self.settings.port),
        }
        words = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        _give(self.data_dir)
        try:
            command = ["postgres", "-D", str(self.data_dir), *words]
            self._process = await start(command, cwd=self.data_dir, as_server=True)
        except ProgramError as error:
            raise ServerError(str(error)) from None
        await self._recovered()

    async def stop(self) -> None:
        """Fast shutdown. Idempotent."""
        if self._process is not None:
            await end(self._process, signal.SIGINT, STOP_WITHIN)

    async def _recovered(self) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.settings.within
        seen = "nothing"
        while self.running and loop.time() < deadline:
            try:
                if not await self._in_recovery():
                    return
                seen = "it is in recovery"
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
                seen = str(error) or type(error).__name__
            await asyncio.sleep(POLL)
        code = self._process.returncode if self._process else None
        await self.stop()
        ended = f"postgres ended with {code}" if code is not None else "it was not up in time"
        raise ServerError(f"{ended}; last seen: {seen}")

    async def jump(self, by: int) -> None:
        """Let the position of the platform's log go on, if there is a log. Raises `ServerError`."""
        try:
            async with self._connection() as connection:
                await move_on(connection, by, JUMP_WITHIN)
        except (TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            raise ServerError(f"the log's position can't be moved: {error!r}") from None

    async def _in_recovery(self) -> bool:
        async with self._connection() as connection:
            return bool(await connection.fetchval("SELECT pg_is_in_recovery()", timeout=2))

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[asyncpg.Connection]:
        user = self.settings.user
        connection = await asyncpg.connect(
            host=self.host, port=self.settings.port, user=user, database=user, ssl=False, timeout=2
        )
        try:
            yield connection
        finally:
            connection.terminate()


def _give(data_dir: Path) -> None:
    """Let PostgreSQL's user own all of it."""
    for path in (data_dir, *data_dir.rglob("*")):
        own(path)
    data_dir.chmod(0o700)
