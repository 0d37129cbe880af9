"""One PostgreSQL server and its data: made, cloned, rewound, started, followed, promoted, stopped."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import asyncpg
import msgspec

from reference_impl.config import Upstream
from reference_impl.programs import ProgramError, end, own, run, start
from reference_impl.storage.postgres import move_on

USER: Final = "squall"
MAKE_WITHIN, CLONE_WITHIN, REWIND_WITHIN = 60.0, 60.0, 30.0  # s
START_WITHIN, STOP_WITHIN, PROMOTE_WITHIN = 30.0, 5.0, 20.0
ASK_WITHIN = 1.0

KEPT_WAL: Final = "128MB"

# Small, because there are many; honest, because durability is what is tested. A dead peer is noticed within 3 s.
SETTINGS: Final[Mapping[str, str]] = {
    "shared_buffers": "32MB",
    "max_connections": "100",
    "fsync": "on",
    "wal_level": "replica",
    "wal_keep_size": KEPT_WAL,
    "max_wal_size": "128MB",
    "min_wal_size": "32MB",
    "max_wal_senders": "10",
    "hot_standby": "on",
    "wal_sender_timeout": "3s",
    "wal_receiver_timeout": "3s",
    "wal_receiver_status_interval": "1s",
    "wal_retrieve_retry_interval": "250ms",
    "recovery_target_timeline": "latest",
    "dynamic_shared_memory_type": "mmap",
    "unix_socket_directories": "",
    "logging_collector": "off",
    "log_line_prefix": "%m [%p] ",
    "autovacuum_naptime": "10min",
    "jit": "off",
}
_ACCESS: Final = "host all squall samenet trust\nhost replication squall samenet trust\n"
_DATABASES: Final = b"ALTER DATABASE postgres RENAME TO squall;\n"

_LOOK: Final = """
SELECT pg_is_in_recovery() AS recovery,
       (CASE WHEN pg_is_in_recovery()
             THEN GREATEST(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
             ELSE pg_current_wal_lsn() END - '0/0'::pg_lsn)::bigint AS lsn,
       COALESCE(pg_last_wal_replay_lsn() - '0/0'::pg_lsn, 0)::bigint AS replayed,
       EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming') AS streaming,
       (SELECT received_tli FROM pg_stat_wal_receiver) AS received_timeline,
       CASE WHEN pg_is_in_recovery() THEN (SELECT timeline_id FROM pg_control_checkpoint())
            ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int END AS timeline
"""
_REPLICAS: Final = (
    "SELECT application_name, sync_state FROM pg_stat_replication WHERE state = 'streaming'"
)
_READERS: Final = """
SELECT application_name, count(*) FROM pg_stat_activity
WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() GROUP BY 1
"""


class Look(msgspec.Struct, frozen=True):
    """What a running server says of itself. Positions in bytes of WAL. `replicas`: name → "sync", "async", "potential".

    `readers`: connections by the name that their client gave.
    """

    recovery: bool
    lsn: int
    replayed: int
    streaming: bool
    timeline: int
    replicas: dict[str, str]
    readers: dict[str, int]


class PostgresServer:
    """At `host`:`port`, with its data under `home`. One task at a time may change it."""

    def __init__(
        self, name: str, home: Path, host: str, port: int, settings: Mapping[str, object]
    ) -> None:
        self.name = name
        self.home = home
        self.data = home / "data"
        self.host, self.port = host, port
        self._settings = {**SETTINGS, **{key: _text(value) for key, value in settings.items()}}
        self._process: asyncio.subprocess.Process | None = None
        self._sql: asyncpg.Connection | None = None
        self._turn = asyncio.Lock()

    def __repr__(self) -> str:
        state = "running" if self.running else "standing" if self.has_data else "empty"
        return f"<PostgresServer {self.name} {self.host}:{self.port} {state}>"

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def has_data(self) -> bool:
        return (self.data / "PG_VERSION").exists()

    @property
    def is_standby(self) -> bool:
        """By its data: it would start as one."""
        return (self.data / "standby.signal").exists()

    # ------------------------------------------------------------------------------------------------- its data

    async def make(self) -> None:
        """A new, empty cluster with the database ``squall``. Raises `ProgramError`."""
        self._clear()
        options = [
            "--data-checksums",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--wal-segsize=4",
            "--no-sync",
        ]
        await self._run(["initdb", "-D", str(self.data), "-U", USER, *options], MAKE_WITHIN)
        mmap = ["-c", "dynamic_shared_memory_type=mmap"]
        single = ["postgres", "--single", "-j", "-D", str(self.data), *mmap, "template1"]
        await self._run(single, MAKE_WITHIN, _DATABASES)
        (self.data / "pg_hba.conf").write_text(_ACCESS, encoding="utf-8")
        self._write_config()

    async def clone(self, source: Upstream) -> None:
        """All data anew from a server. Raises `ProgramError`; then there are none, unless the source did not even answer."""
        await _checkpoint(source)
        self._clear()
        try:
            options = ["-X", "stream", "-c", "fast", "--no-sync", "-w"]
            command = ["pg_basebackup", "-D", str(self.data), *_at(source), *options]
            await self._run(command, CLONE_WITHIN)
        except ProgramError:
            shutil.rmtree(self.data, ignore_errors=True)
            raise
        self._write_config()

    async def rewind(self, source: Upstream) -> None:
        """Give up what it has and the source has not, and take what it lacks. Raises `ProgramError`."""
        self.configure(None, ())
        await _checkpoint(source)
        server = (
            f"host={source.host} port={source.port} user={USER} dbname=squall connect_timeout=3"
        )
        command = ["pg_rewind", "-D", str(self.data), f"--source-server={server}", "--no-sync"]
        await self._run(command, REWIND_WITHIN)
        self._write_config()

    async def _run(self, command: Sequence[str], within: float, given: bytes = b"") -> None:
        await run(command, within, cwd=self.home, as_server=True, given=given)

    def _write_config(self) -> None:
        """What is on the command line is not here, but for what pg_rewind's own start of the server must know: that the log
        from before the fork is kept. (A clone's file names another folder.)
        """
        lines = [f"wal_keep_size = {KEPT_WAL}", f"include '{self.home / 'role.conf'}'"]
        text = "".join(f"{line}\n" for line in lines)
        (self.data / "postgresql.conf").write_text(text, encoding="utf-8")

    def _clear(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self.data, ignore_errors=True)
        self.data.mkdir(mode=0o700)
        own(self.data)
        self.configure(None, ())

    def configure(
        self, follow: Upstream | None, synchronous: Sequence[str], *, closed: bool = False
    ) -> None:
        """Whom it follows when it is a standby, and whose word its commits wait for; `closed`: it takes no writes yet.

        Takes effect at once if it runs.
        """
        lines = ["default_transaction_read_only = on"] if closed else []
        if follow is not None:
            told = f"{' '.join(_words(follow))} application_name={self.name}"
            lines.append(f"primary_conninfo = '{told} connect_timeout=3'")
        if synchronous:
            names = ", ".join(f'"{name}"' for name in synchronous)
            lines.append(f"synchronous_standby_names = 'FIRST 1 ({names})'")
        path = self.home / "role.conf"
        fresh = path.with_suffix(".new")
        fresh.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        own(fresh)
        fresh.replace(path)
        if self.running and self._process is not None:
            self._process.send_signal(signal.SIGHUP)

    def be_standby(self, *, standby: bool) -> None:
        """As what it starts next. Only for a server that doesn't run."""
        path = self.data / "standby.signal"
        if standby:
            path.touch()
            own(path)
        else:
            path.unlink(missing_ok=True)

    # --------------------------------------------------------------------------------------------- the process

    async def start(self) -> None:
        """Start, and wait until it answers. Raises `ProgramError`."""
        settings = {**self._settings, "listen_addresses": self.host, "port": str(self.port)}
        options = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
        (self.data / "postmaster.pid").unlink(missing_ok=True)  # of one that died with its agent
        command = ["postgres", "-D", str(self.data), *options]
        self._process = await start(command, cwd=self.data, as_server=True)
        deadline = asyncio.get_running_loop().time() + START_WITHIN
        while (silent := await self._silent()) is not None:
            if not self.running:
                raise ProgramError(f"postgres ended with {self._process.returncode}")
            if asyncio.get_running_loop().time() > deadline:
                raise ProgramError(f"postgres did not answer: {silent}")
            await asyncio.sleep(0.05)

    async def _silent(self) -> str | None:
        """None when it answers, else what was seen instead."""
        try:
            async with self._asked() as sql:
                await sql.fetchval("SELECT 1")
        except ProgramError as error:
            return str(error)
        return None

    async def stop(self, *, hard: bool) -> None:
        """End it: fast, or `hard`, in the middle of whatever it does. Idempotent."""
        if self._process is not None:
            if hard:
                await end(self._process, signal.SIGQUIT)
            else:
                await end(self._process, signal.SIGINT, STOP_WITHIN)
        self._hang_up()

    # ------------------------------------------------------------------------------------------------- questions

    async def look(self) -> Look:
        """Raises `ProgramError` when it does not answer."""
        async with self._asked() as sql:
            row = await sql.fetchrow(_LOOK)
            replicas = await sql.fetch(_REPLICAS)
            readers = await sql.fetch(_READERS)
        return Look(
            recovery=row["recovery"],
            lsn=row["lsn"] or 0,
            replayed=row["replayed"],
            streaming=row["streaming"],
            timeline=max(row["timeline"], row["received_timeline"] or 0),
            replicas={r["application_name"]: r["sync_state"] for r in replicas},
            readers={r["application_name"]: r["count"] for r in readers},
        )

    async def promote(self) -> None:
        """From standby to primary, on a timeline of its own. Raises `ProgramError`."""
        async with self._asked(PROMOTE_WITHIN + 1) as sql:
            if not await sql.fetchval(f"SELECT pg_promote(true, {PROMOTE_WITHIN:.0f})"):
                raise ProgramError(f"not promoted within {PROMOTE_WITHIN:g} s")

    async def jump(self, by: int) -> None:
        """Let the log's position go on by `by`, if there is a log, also while it is closed. Raises `ProgramError`."""
        async with self._asked(PROMOTE_WITHIN) as sql:
            await sql.execute("SET default_transaction_read_only = off")
            await move_on(sql, by, PROMOTE_WITHIN)
            await sql.execute("RESET default_transaction_read_only")

    @contextlib.asynccontextmanager
    async def _asked(self, within: float = ASK_WITHIN) -> AsyncIterator[asyncpg.Connection]:
        """The agent's own connection, for one at a time; made anew after anything went wrong on it."""
        try:
            async with asyncio.timeout(within), self._turn:
                try:
                    yield await self._connected()
                except BaseException:
                    self._hang_up()
                    raise
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise ProgramError(f"{self.name}: {str(error) or 'no answer in time'}") from error

    async def _connected(self) -> asyncpg.Connection:
        if self._sql is None or self._sql.is_closed():
            self._sql = await asyncpg.connect(
                host=self.host,
                port=self.port,
                user=USER,
                database="squall",
                ssl=False,
                server_settings={"application_name": f"{self.name}-agent"},
            )
        return self._sql

    def _hang_up(self) -> None:
        if self._sql is not None:
            self._sql.terminate()
            self._sql = None


async def _checkpoint(source: Upstream) -> None:
    """pg_rewind knows a source's timeline from its last checkpoint: without one since its promotion it finds nothing to do."""
    try:
        async with asyncio.timeout(REWIND_WITHIN):
            connection = await asyncpg.connect(
                host=source.host, port=source.port, user=USER, database="squall", ssl=False
            )
            try:
                await connection.execute("CHECKPOINT")
            finally:
                connection.terminate()
    except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise ProgramError(f"{source}: no checkpoint: {str(error) or 'no answer'}") from error


def _at(source: Upstream) -> list[str]:
    return ["-h", source.host, "-p", str(source.port), "-U", USER]


def _words(source: Upstream) -> list[str]:
    return [f"host={source.host}", f"port={source.port}", f"user={USER}"]


def _text(value: object) -> str:
    return ("on" if value else "off") if isinstance(value, bool) else str(value)
