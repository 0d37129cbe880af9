"""PostgreSQL's own programs and tar, as the backup uses them. Every call ends within its timeout and raises `ProgramError`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from reference_impl.backup.wal_names import parse_lsn
from reference_impl.config import Positive, Upstream
from reference_impl.programs import NICE, ProgramError, run


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
        command = ["pg_basebackup", "-d", self.conninfo, "-D", str(into), *options]
        await run([*NICE, *command], self.settings.backup_timeout)
        return read_taken(into)

    async def verify(self, folder: Path) -> None:
        command = [*NICE, "pg_verifybackup", "--quiet", str(folder)]
        await run(command, self.settings.call_timeout)

    async def pack(self, folder: Path, archive: Path) -> None:
        compress = "--use-compress-program=gzip -1"
        command = [*NICE, "tar", compress, "-cf", str(archive), "-C", str(folder), "."]
        await run(command, self.settings.backup_timeout)

    async def unpack(self, archive: Path, folder: Path) -> None:
        folder.mkdir(parents=True, mode=0o700)  # noqa: ASYNC240 - one call
        command = ["tar", "--no-same-owner", "-xzf", str(archive), "-C", str(folder)]
        await run(command, self.settings.backup_timeout)

    async def receive_wal(self, into: Path, slot: str) -> None:
        # Told often, the server lets go of what has been flushed; by itself it would keep ten seconds more.
        options = ["--no-loop", "--status-interval=1", f"--slot={slot}"]
        command = ["pg_receivewal", "-d", self.conninfo, "-D", str(into), *options]
        await run(command, within=None)
        raise ProgramError("pg_receivewal ended: the server closed the connection")


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
