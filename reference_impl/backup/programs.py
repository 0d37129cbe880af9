"""PostgreSQL's own programs and tar, as the backup uses them. The one place where processes are started.

They come from PATH. Every call ends within its timeout and raises `ProgramError` with what the program said last.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

import msgspec

from reference_impl.backup.wal_names import parse_lsn
from reference_impl.config import Positive, Upstream

GENTLY: Final = ("nice", "-n", "15")  # what takes much of the machine gives way to those who serve
STOP_WITHIN: Final = 1.0  # s that a program gets to end
LAST_WORDS: Final = 300  # characters


class ProgramError(Exception):
    """A program failed; what it said last, in one line."""


class ProgramSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Timeouts in s."""

    user: str = "squall"
    backup_timeout: Positive = 600.0
    call_timeout: Positive = 60.0


class Taken(msgspec.Struct, frozen=True):
    """What a base backup says of itself. `start` and `end` are LSNs."""

    timeline: int
    start: int
    end: int
    start_segment: str


class Programs(Protocol):
    """The programs, real or faked."""

    async def base_backup(self, into: Path) -> Taken:
        """A plain base backup of the primary, with the WAL that it needs, into a folder that is not there yet."""
        ...

    async def verify(self, folder: Path) -> None:
        """Every file of a base backup against its manifest's checksums, and its WAL."""
        ...

    async def pack(self, folder: Path, archive: Path) -> None: ...

    async def unpack(self, archive: Path, folder: Path) -> None:
        """Into a new folder."""
        ...

    async def receive_wal(self, into: Path, slot: str) -> None:
        """Stream WAL into files until the connection ends, which raises `ProgramError`; cancel it to stop."""
        ...


class PostgresPrograms:
    """`Programs`, for the first of `servers` that takes writes."""

    def __init__(
        self, servers: Sequence[Upstream] = (), settings: ProgramSettings | None = None
    ) -> None:
        self.servers = tuple(servers)
        self.settings = settings or ProgramSettings()

    def __repr__(self) -> str:
        return f"<PostgresPrograms of {', '.join(map(str, self.servers)) or 'no server'}>"

    @property
    def conninfo(self) -> str:
        hosts = ",".join(server.host for server in self.servers)
        ports = ",".join(str(server.port) for server in self.servers)
        return (
            f"host={hosts} port={ports} user={self.settings.user} connect_timeout=5 "
            "target_session_attrs=primary sslmode=disable gssencmode=disable application_name=squall_backup"
        )

    async def base_backup(self, into: Path) -> Taken:
        # The archive is synced by the store that keeps it; a copy that a crash spoils is taken again.
        options = ["--format=plain", "--wal-method=fetch", "--checkpoint=fast", "--no-sync"]
        await self._run(
            self.settings.backup_timeout,
            *GENTLY, "pg_basebackup", "-d", self.conninfo, "-D", str(into), *options,
        )  # fmt: skip
        return read_taken(into)

    async def verify(self, folder: Path) -> None:
        await self._run(
            self.settings.call_timeout, *GENTLY, "pg_verifybackup", "--quiet", str(folder)
        )

    async def pack(self, folder: Path, archive: Path) -> None:
        compress = "--use-compress-program=gzip -1"
        await self._run(
            self.settings.backup_timeout,
            *GENTLY, "tar", compress, "-cf", str(archive), "-C", str(folder), ".",
        )  # fmt: skip

    async def unpack(self, archive: Path, folder: Path) -> None:
        folder.mkdir(parents=True, mode=0o700)  # noqa: ASYNC240 - one call
        await self._run(
            self.settings.backup_timeout,
            "tar", "--no-same-owner", "-xzf", str(archive), "-C", str(folder),
        )  # fmt: skip

    async def receive_wal(self, into: Path, slot: str) -> None:
        # Told often, the server lets go of what has been flushed; by itself it would keep ten seconds more.
        options = ["--no-loop", "--status-interval=1", f"--slot={slot}"]
        await self._run(None, "pg_receivewal", "-d", self.conninfo, "-D", str(into), *options)
        raise ProgramError("pg_receivewal ended: the server closed the connection")

    async def _run(self, within: float | None, *command: str) -> None:
        name = command[0] if command[0] != GENTLY[0] else command[len(GENTLY)]
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                env={**os.environ, "LC_ALL": "C"},
            )
        except OSError as error:
            raise ProgramError(f"{name} can't be run: {error.strerror}") from None
        try:
            async with asyncio.timeout(within):
                said, _ = await process.communicate()
        except TimeoutError:
            raise ProgramError(f"{name} took over {within:g} s") from None
        finally:
            if process.returncode is None:
                await end(process)
        if process.returncode != 0:
            words = " ".join(said.decode(errors="replace").split())[-LAST_WORDS:]
            raise ProgramError(f"{name} failed with {process.returncode}: {words or 'no word'}")


async def end(
    process: asyncio.subprocess.Process, number: int = 15, within: float = STOP_WITHIN
) -> None:
    """End a process and wait for it: by signal `number`, then by SIGKILL."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)
        try:
            await asyncio.wait_for(process.wait(), within)
        except TimeoutError:
            process.kill()
            await process.wait()


class _Range(
    msgspec.Struct, rename={"timeline": "Timeline", "start": "Start-LSN", "end": "End-LSN"}
):
    timeline: int
    start: str
    end: str


class _Manifest(msgspec.Struct, rename={"ranges": "WAL-Ranges"}):
    ranges: list[_Range]


def read_taken(folder: Path) -> Taken:
    """From the manifest and the label that PostgreSQL put into a base backup. Raises `ProgramError`."""
    try:
        manifest = msgspec.json.decode((folder / "backup_manifest").read_bytes(), type=_Manifest)
        label = (folder / "backup_label").read_text(encoding="utf-8")
        first = label.splitlines()[
            0
        ]  # START WAL LOCATION: 0/C00028 (file 000000010000000000000003)
        segment = first.rpartition("file ")[2].rstrip(")")
        last = manifest.ranges[-1]
        return Taken(
            last.timeline, parse_lsn(manifest.ranges[0].start), parse_lsn(last.end), segment
        )
    except (OSError, LookupError, ValueError, msgspec.DecodeError) as error:
        raise ProgramError(f"the base backup does not say what it is: {error}") from None
