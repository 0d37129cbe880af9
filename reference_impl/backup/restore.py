"""A database from what the object stores have: the newest backup whose bytes still verify, then all WAL behind it."""

from __future__ import annotations

import gzip
import shutil
import zlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from reference_impl.backup.catalogue import ENTRIES, Backup, read_entry
from reference_impl.backup.programs import Programs
from reference_impl.backup.wal import PACKED, WAL
from reference_impl.backup.wal_names import PARTIAL, is_history, is_segment, next_number
from reference_impl.clock import NS
from reference_impl.objectstore.base import ObjectStore
from reference_impl.programs import ProgramError
from reference_impl.resilience.errors import CallError


class RestoreError(Exception):
    """Nothing could be restored: why, in one line."""


class Passed(msgspec.Struct, frozen=True):
    """A location or an object that was passed over, and why."""

    store: str
    key: str
    reason: str


class RestorePoint(msgspec.Struct, frozen=True):
    """What was restored. `passed`: what was newer or nearer and could not be used.

    `wal_end`: the name of the last WAL segment that follows without a gap, "" for none; `piece`: it is one that was still
    being written. `files`: how many WAL files were staged.
    """

    backup: Backup
    store: str
    passed: list[Passed]
    wal_end: str
    piece: bool
    files: int


async def restore(
    stores: Sequence[ObjectStore], data_dir: Path, programs: Programs, until: int | None = None
) -> RestorePoint:
    """Make `data_dir` (not there yet, or empty) a data directory that recovers when PostgreSQL is started on it.

    `stores`: the locations, the preferred first; any one that has a whole backup will do. `until`: the wall clock, Unix ns:
    recover no further. Without it, to the end of what the stores have. Raises `RestoreError`.

    WAL is staged beside the data directory, in `<data_dir>-wal`; it may go when recovery is over.
    """
    _make_way(data_dir)
    passed: list[Passed] = []
    for candidate in await _candidates(stores, passed):
        try:
            backup = await read_entry(candidate.store, candidate.entry)
            if until is not None and backup.at > until:
                continue
            await _unpack(candidate.store, backup, data_dir, programs)
        except (CallError, ProgramError, OSError, ValueError) as error:
            passed.append(Passed(candidate.store.name, candidate.entry, str(error)))
            shutil.rmtree(data_dir, ignore_errors=True)
            continue
        staged = await _stage_wal(stores, backup, _beside(data_dir), passed)
        _configure(data_dir, until)
        end, piece = staged.end(backup)
        return RestorePoint(
            backup, candidate.store.name, passed, end, piece=piece, files=len(staged.names)
        )
    reasons = "; ".join(f"{each.store} {each.key}: {each.reason}" for each in passed)
    raise RestoreError(f"no backup can be restored: {reasons or 'there is none'}")


@dataclass(frozen=True, slots=True)
class _Candidate:
    id: str
    entry: str
    store: ObjectStore


async def _candidates(stores: Sequence[ObjectStore], passed: list[Passed]) -> list[_Candidate]:
    """All that the catalogues name, the newest first; copies of one backup in the order of `stores`."""
    found = []
    for store in stores:
        try:
            infos = await store.list(ENTRIES)
        except CallError as error:
            passed.append(Passed(store.name, ENTRIES, str(error)))
            continue
        found += [_Candidate(info.key.rpartition("/")[2], info.key, store) for info in infos]
    return sorted(found, key=lambda each: each.id, reverse=True)


async def _unpack(store: ObjectStore, backup: Backup, data_dir: Path, programs: Programs) -> None:
    """Raises for bytes that are not those that were verified when it was taken, or that don't verify now."""
    archive = await store.get(backup.key)
    if not backup.fits(archive):
        raise ValueError("the archive is not the one that was verified")
    file = data_dir.with_name(f"{data_dir.name}.tar.gz")
    try:
        file.write_bytes(archive)
        await programs.unpack(file, data_dir)
    finally:
        file.unlink(missing_ok=True)
    await programs.verify(data_dir)


def _make_way(data_dir: Path) -> None:
    """What somebody else keeps there is never removed."""
    try:
        data_dir.parent.mkdir(parents=True, exist_ok=True)
        if data_dir.exists():
            data_dir.rmdir()
    except OSError as error:
        raise RestoreError(f"{data_dir} is not free: {error.strerror}") from None


@dataclass(slots=True)
class _Staged:
    """WAL files that are there for recovery. `pieces`: segments that were still being written when they were shipped."""

    names: set[str] = field(default_factory=set)
    pieces: set[str] = field(default_factory=set)
    size: int = 0  # of a segment, bytes

    def add(self, name: str, size: int, *, is_piece: bool) -> None:
        self.names.add(name)
        if is_piece:
            self.pieces.add(name)
        if is_segment(name):
            self.size = size

    def end(self, backup: Backup) -> tuple[str, bool]:
        """The last segment that follows the backup's first without a gap, on any timeline, and whether it is a piece."""
        by_number: dict[str, str] = {}
        for name in sorted(filter(is_segment, self.names)):
            by_number[name[8:]] = name  # of several timelines the latest
        number, last = backup.start_segment[8:], ""
        while number in by_number:
            last = by_number[number]
            number = next_number(number, self.size)
        return last, last in self.pieces


async def _stage_wal(
    stores: Sequence[ObjectStore], backup: Backup, folder: Path, passed: list[Passed]
) -> _Staged:
    """Every WAL file from the backup's first segment on that some location has whole; of pieces the longest."""
    _fresh(folder)
    staged = _Staged()
    places = await _wal_places(stores, backup, passed)
    # A piece is of use only where the whole segment is nowhere to be had.
    for name in sorted(places, key=lambda name: (name.endswith(PARTIAL), name)):
        target = name.removesuffix(PARTIAL)
        is_piece = target != name
        if target in staged.names:
            continue
        found = [raw async for raw in _readable(places[name], name, passed, every=is_piece)]
        if found:
            raw = max(found, key=lambda raw: len(raw.rstrip(b"\0")))
            (folder / target).write_bytes(raw)
            staged.add(target, len(raw), is_piece=is_piece)
    return staged


async def _readable(
    stores: Sequence[ObjectStore], name: str, passed: list[Passed], *, every: bool
) -> AsyncIterator[bytes]:
    """The first copy that can be read, or all of them."""
    for store in stores:
        key = f"{WAL}{name}{PACKED}"
        try:
            raw = gzip.decompress(await store.get(key))
        except (CallError, OSError, EOFError, zlib.error) as error:
            passed.append(Passed(store.name, key, str(error)))
            continue
        yield raw
        if not every:
            return


def _fresh(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o755)


async def _wal_places(
    stores: Sequence[ObjectStore], backup: Backup, passed: list[Passed]
) -> Mapping[str, list[ObjectStore]]:
    """Which locations have which WAL file, by its name."""
    places: dict[str, list[ObjectStore]] = {}
    for store in stores:
        try:
            infos = await store.list(WAL)
        except CallError as error:
            passed.append(Passed(store.name, WAL, str(error)))
            continue
        for info in infos:
            name = info.key.removeprefix(WAL).removesuffix(PACKED)
            segment = name.removesuffix(PARTIAL)
            needed = is_segment(segment) and segment[8:] >= backup.start_segment[8:]
            if needed or is_history(name):
                places.setdefault(name, []).append(store)
    return places


def _configure(data_dir: Path, until: int | None) -> None:
    wal = str(_beside(data_dir).absolute())
    settings = {
        "restore_command": f'cp "{wal}/%f" "%p"',
        "recovery_target_timeline": "latest",
        "recovery_target_action": "promote",
    }
    if until is not None:
        at = datetime.fromtimestamp(until // NS, UTC).replace(microsecond=until % NS // 1000)
        settings["recovery_target_time"] = at.isoformat(sep=" ")
    with (data_dir / "postgresql.auto.conf").open("a", encoding="utf-8") as file:
        for name, value in settings.items():
            file.write(f"{name} = '{value.replace(chr(39), chr(39) * 2)}'\n")
    (data_dir / "recovery.signal").touch()


def _beside(data_dir: Path) -> Path:
    return data_dir.with_name(f"{data_dir.name}-wal")
