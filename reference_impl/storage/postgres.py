"""The change log in PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from importlib import resources
from typing import Annotated, Any, Final, TypeVar

import asyncpg
import msgspec

from reference_impl.config import Positive, Upstream
from reference_impl.propagation.types import Change, Flag, FlagState, OrgState, Snapshot
from reference_impl.resilience.errors import (
    CONNECTION_RESET,
    INVALID,
    SERVICE_UNAVAILABLE,
    TIMEOUT,
    CallError,
    kind_of,
)

T = TypeVar("T")
CHANNEL: Final = "squall_changes"
LOCK: Final = 0x5C0A11  # advisory lock of those who create the schema
CLOSE_WITHIN: Final = 0.5  # s
# SQLSTATE: the statement surely had no effect, and another server or a later time may serve it: a read-only
# server, no schema yet, a deadlock's victim, too many connections, a server that starts or recovers.
NOT_NOW: Final = ("25006", "42P01", "42883", "3F000", "40001", "40P01", "53300", "57P03")
ENDED: Final = ("57", "08")  # classes of a server that goes down and of a broken connection
Condition = Callable[[asyncpg.Connection], Awaitable[None]]
_FED: Final = "SELECT pg_is_in_recovery() AND EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming')"
_decode_flag = msgspec.json.Decoder(dict[str, Any]).decode


class DatabaseSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Times in s. `call_timeout` is for one statement with its commit; `poll` is how often to look without LISTEN.

    `prefer_standby`, for readers: a server that takes writes is read only when no standby has received its log for
    `standby_patience`; how that is is asked anew of a connection each `recheck`.
    """

    user: str = "squall"
    database: str = "squall"
    connect_timeout: Positive = 1.0
    call_timeout: Positive = 3.0
    bulk_timeout: Positive = 10.0
    poll: Positive = 0.1
    retry: Positive = 0.25
    connections: Annotated[int, msgspec.Meta(ge=1)] = 8
    prefer_standby: bool = False
    recheck: Positive = 2.0
    standby_patience: Positive = 5.0


class PostgresChangeLog:
    """A `ChangeLog`. Of several servers it uses the first that answers; a writer only one that takes writes."""

    def __init__(
        self,
        servers: Sequence[Upstream],
        settings: DatabaseSettings,
        *,
        writer: bool,
        name: str = "squall",
    ) -> None:
        self.servers = tuple(servers)
        self.settings = settings
        self.error: CallError | None = None
        self._writer = writer
        self._name = name
        self._prepared = not writer
        self._idle: list[asyncpg.Connection] = []
        self._last: Upstream | None = None
        self._checked = 0.0  # loop time
        self._unfed_since: float | None = None  # no standby would do since then, loop time
        self._slots = asyncio.Semaphore(settings.connections)
        self._news = asyncio.Event()
        self._listening = False
        self._tasks: list[asyncio.Task[None]] = []
        self._closed = False

    def __repr__(self) -> str:
        hears = "listening" if self._listening else "polling"
        error = self.error.kind if self.error else None
        return f"<PostgresChangeLog idle={len(self._idle)} {hears} error={error}>"

    async def start(self) -> None:
        """See `ChangeLog.start`. A writer creates the schema as soon as it reaches a server."""
        if self.settings.prefer_standby and not self._writer:
            return  # a standby can't be listened to
        job = self._prepare if self._writer else self._listen
        self._tasks.append(asyncio.create_task(job(), name=f"database {job.__name__}"))

    async def close(self) -> None:
        self._closed = True
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._tasks.clear()
        while self._idle:
            await _end(self._idle.pop())

    async def put_flag(self, org: str, key: str, definition: Flag | None, at: int) -> Change:
        flag = None if definition is None else msgspec.json.encode(definition).decode()

        async def write(connection: asyncpg.Connection) -> Any:
            return await connection.fetchrow(
                "SELECT * FROM put_flag($1, $2, $3, $4)", org, key, flag, at
            )

        row = await self._call(write, self.settings.call_timeout)
        return Change(row["out_seq"], org, row["out_version"], key, definition, at)

    async def get(self, org: str, key: str) -> tuple[FlagState, int] | None:
        async def read(connection: asyncpg.Connection) -> Any:
            return await connection.fetchrow(
                "SELECT seq, flag, version FROM flags JOIN orgs USING (org) WHERE org = $1 AND key = $2",
                org,
                key,
            )

        row = await self._call(read, self.settings.call_timeout)
        return row and (FlagState(row["seq"], _decode_flag(row["flag"])), row["version"])

    async def list_org(self, org: str) -> OrgState | None:
        state = await self._read_all("WHERE org = $1", org)
        return state.orgs.get(org)

    async def snapshot(self) -> Snapshot:
        return await self._read_all("")

    async def _read_all(self, where: str, *args: str) -> Snapshot:
        async def read(connection: asyncpg.Connection) -> Snapshot:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                seq = await connection.fetchval("SELECT seq FROM log_head")
                orgs = await connection.fetch(f"SELECT org, version FROM orgs {where}", *args)  # noqa: S608 - a constant
                flags = await connection.fetch(
                    f"SELECT org, key, seq, flag FROM flags {where}",  # noqa: S608 - a constant
                    *args,
                )
            found = {row["org"]: OrgState(row["version"], {}) for row in orgs}
            for row in flags:
                state = FlagState(row["seq"], _decode_flag(row["flag"]))
                found[row["org"]].flags[row["key"]] = state
            return Snapshot(seq, found)

        return await self._call(read, self.settings.bulk_timeout)

    async def changes_since(self, seq: int, limit: int) -> list[Change]:
        async def read(connection: asyncpg.Connection) -> Any:
            return await connection.fetch(
                "SELECT seq, org, version, key, flag, at FROM changes WHERE seq > $1 ORDER BY seq LIMIT $2",
                seq,
                limit,
            )

        rows = await self._call(read, self.settings.call_timeout)
        return changes_of(rows)

    async def news(self, within: float) -> None:
        limit = within if self._listening else min(within, self.settings.poll)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit):
                await self._news.wait()
        self._news.clear()

    async def _call(self, work: Callable[[asyncpg.Connection], Awaitable[T]], within: float) -> T:
        """Do `work` on a connection, within `within` s once there is one. Raises `CallError`."""
        try:
            async with self._connection() as connection, asyncio.timeout(within):
                result = await work(connection)
        except (CallError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            self.error = _call_error(error)
            if "42P01" in self.error.detail or "42883" in self.error.detail:
                self._prepared = not self._writer
            raise self.error from error
        self.error = None
        return result

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection of the pool. One on which anything went wrong is not used again."""
        try:
            async with asyncio.timeout(self.settings.call_timeout):
                await self._slots.acquire()
        except TimeoutError:
            raise CallError(SERVICE_UNAVAILABLE, "all database connections are busy") from None
        try:
            connection = await self._take_idle() or await self._connect()
            try:
                if not self._prepared:
                    await self._create_schema(connection)
                yield connection
            except BaseException:
                connection.terminate()
                raise
            if self._closed:
                connection.terminate()
            else:
                self._idle.append(connection)
        finally:
            self._slots.release()

    async def _take_idle(self) -> asyncpg.Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed() and await self._still_fit(connection):
                return connection
            connection.terminate()
        return None

    def _hang_up(self) -> None:
        while self._idle:
            self._idle.pop().terminate()

    async def _still_fit(self, connection: asyncpg.Connection) -> bool:
        """Whether it is still the standby that it was; asked each `recheck` s."""
        now = asyncio.get_running_loop().time()
        if self._writer or not self.settings.prefer_standby or now < self._checked:
            return True
        try:
            async with asyncio.timeout(self.settings.connect_timeout):
                await _require_fed_standby(connection)
        except (CallError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            self._hang_up()  # the others are no better
            return False
        self._checked = now + self.settings.recheck
        return True

    async def _connect(self) -> asyncpg.Connection:
        """Connect to the first server that will do, the last one that did before the others.

        Raises `CallError` SERVICE_UNAVAILABLE.
        """
        failures = []
        for condition in self._conditions:
            for server in sorted(self.servers, key=lambda server: server != self._last):
                try:
                    connection = await self._connect_to(server, condition)
                except (CallError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
                    failures.append(f"{server}: {str(error) or type(error).__name__}")
                else:
                    self._last = server if self._writer else None
                    if condition is not None:
                        self._unfed_since = None
                    return connection
        raise CallError(SERVICE_UNAVAILABLE, "; ".join(failures))

    @property
    def _conditions(self) -> tuple[Condition | None, ...]:
        """What a server must be, the first wish first."""
        if self._writer:
            return (_require_primary,)
        if not self.settings.prefer_standby:
            return (None,)
        now = asyncio.get_running_loop().time()
        if self._unfed_since is None:
            self._unfed_since = now
        patient = now - self._unfed_since < self.settings.standby_patience
        return (_require_fed_standby,) if patient else (_require_fed_standby, None)

    async def _connect_to(
        self, server: Upstream, condition: Condition | None
    ) -> asyncpg.Connection:
        async with asyncio.timeout(self.settings.connect_timeout):
            connection = await asyncpg.connect(
                host=server.host,
                port=server.port,
                user=self.settings.user,
                database=self.settings.database,
                ssl=False,
                timeout=self.settings.connect_timeout,
                server_settings={"application_name": self._name},
            )
            try:
                if condition is not None:
                    await condition(connection)
            except BaseException:
                connection.terminate()
                raise
        return connection

    def _schema(self) -> str:
        return resources.files(__package__).joinpath("schema.sql").read_text()

    async def _create_schema(self, connection: asyncpg.Connection) -> None:
        """Raises `CallError` SERVICE_UNAVAILABLE: what the connection was wanted for has not been done."""
        try:
            async with asyncio.timeout(self.settings.call_timeout), connection.transaction():
                await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
                await connection.execute(self._schema())
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            raise CallError(SERVICE_UNAVAILABLE, f"schema: {error}") from error
        self._prepared = True

    async def _prepare(self) -> None:
        """Create the schema as soon as a server is there, so that readers find it."""
        while not self._prepared:
            with contextlib.suppress(CallError):
                async with self._connection():
                    break
            await asyncio.sleep(self.settings.retry)

    async def _listen(self) -> None:
        """Keep one connection that hears of commits. A server in recovery can't be listened to: then we poll."""
        while True:
            with contextlib.suppress(
                CallError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError
            ):
                await self._listen_once()
            await asyncio.sleep(self.settings.retry)

    async def _listen_once(self) -> None:
        connection = await self._connect()
        ended = asyncio.Event()
        connection.add_termination_listener(lambda _: ended.set())
        try:
            async with asyncio.timeout(self.settings.call_timeout):
                await connection.add_listener(CHANNEL, lambda *_: self._news.set())
            self._listening = True
            self._news.set()  # something may have come before we listened
            await ended.wait()
        finally:
            self._listening = False
            connection.terminate()


def changes_of(rows: Iterable[asyncpg.Record]) -> list[Change]:
    """From rows of the table of changes, with all of its columns that a change has."""
    return [
        Change(
            row["seq"],
            row["org"],
            row["version"],
            row["key"],
            None if row["flag"] is None else _decode_flag(row["flag"]),
            row["at"],
        )
        for row in rows
    ]


def _call_error(error: Exception) -> CallError:
    """Map what asyncpg raises while a statement runs. Only SERVICE_UNAVAILABLE says that nothing was written."""
    if isinstance(error, CallError):
        return error
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        detail = f"database: {state} {error}"
        if state in NOT_NOW:
            return CallError(SERVICE_UNAVAILABLE, detail)
        if state.startswith(ENDED):
            return CallError(CONNECTION_RESET, detail)
        return CallError(INVALID, detail)
    if isinstance(error, TimeoutError):
        return CallError(TIMEOUT, "database: no answer in time")
    return CallError(kind_of(error) or CONNECTION_RESET, f"database: {error}")


async def _require_primary(connection: asyncpg.Connection) -> None:
    if await connection.fetchval("SELECT pg_is_in_recovery()"):
        raise CallError(SERVICE_UNAVAILABLE, "it takes no writes")


async def _require_fed_standby(connection: asyncpg.Connection) -> None:
    """A standby that is cut off from its primary answers on, from a past that gets older."""
    if not await connection.fetchval(_FED):
        raise CallError(SERVICE_UNAVAILABLE, "it is no standby that receives its primary's log")


async def move_on(connection: asyncpg.Connection, by: int, within: float) -> None:
    """Let the log's position go on by `by`, if there is a log: a gap that makes every reader ask for a snapshot.

    Each of its two statements has `within` s. Raises what asyncpg raises.
    """
    if await connection.fetchval("SELECT to_regclass('log_head')", timeout=within) is not None:
        await connection.execute("UPDATE log_head SET seq = seq + $1", by, timeout=within)


async def _end(connection: asyncpg.Connection) -> None:
    try:
        async with asyncio.timeout(CLOSE_WITHIN):
            await connection.close()
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        connection.terminate()
