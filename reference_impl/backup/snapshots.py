"""Scheduled base backups: taken when due, verified, kept where they belong, expired by policy."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NoReturn

from reference_impl.backup.catalogue import Backup, Catalogue
from reference_impl.backup.policy import Schedule, due, expired, wal_floor
from reference_impl.backup.programs import Programs, Taken
from reference_impl.backup.wal import WAL
from reference_impl.backup.wal_names import is_segment
from reference_impl.clock import NS, PlatformClock, stamp
from reference_impl.programs import ProgramError
from reference_impl.resilience.errors import CallError

Alert = Callable[[str, dict[str, object]], None]
OVERDUE: Final = 2.0  # times a schedule's `every`


@dataclass(slots=True)
class _Job:
    """One base backup for all that was due at its time, and the locations that do not have it yet."""

    slots: dict[str, int]  # by kind
    taken: int
    archive: bytes = b""
    waiting: list[tuple[Backup, Catalogue]] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"<_Job {self.slots} waiting={len(self.waiting)}>"


class Snapshots:
    """`schedules` by kind, the most frequent first. `folder` is for work in hand."""

    def __init__(
        self,
        programs: Programs,
        folder: Path,
        catalogues: Sequence[Catalogue],
        schedules: Mapping[str, Schedule],
        clock: PlatformClock,
        alert: Alert,
        retry: float,
    ) -> None:
        self.schedules = dict(schedules)
        self.missed = 0
        self.failures = 0
        self.error = ""
        self.last: dict[str, Backup] = {}
        self._programs = programs
        self._folder = folder
        self._catalogues = tuple(catalogues)
        self._clock = clock
        self._alert = alert
        self._retry = retry
        self._job: _Job | None = None
        self._slots: dict[str, int] = {}  # the last that was begun
        self._ready = False
        self._wanted = False
        self._expiring = False
        self._told: set[str] = set()
        self._wake = asyncio.Event()

    def __repr__(self) -> str:
        newest = ", ".join(f"{kind} {backup.id}" for kind, backup in self.last.items())
        return f"<Snapshots {newest or 'none yet'} {self.error or 'well'}>"

    @property
    def settled(self) -> bool:
        """Everything that was due is done."""
        return self._ready and self._job is None and not self._wanted and not self._expiring

    def status(self) -> dict[str, object]:
        now = self._clock.now()
        kinds = {
            kind: {"last": backup.id, "age_s": (now - backup.taken) / NS}
            for kind, backup in self.last.items()
        }
        held = {each.store.name: len(each.backups) for each in self._catalogues}
        return {
            "settled": self.settled,
            "backups": kinds,
            "held": held,
            "missed": self.missed,
            "failures": self.failures,
            "error": self.error,
        }

    def demand(self) -> None:
        """Take one of the most frequent kind now, whatever its slot."""
        self._wanted = True
        self._wake.set()

    def look(self) -> None:
        """See what is due now: at the latest when the clock was moved."""
        if self._ready:
            self._plan()
        self._wake.set()

    async def run(self) -> NoReturn:
        """Until cancelled."""
        while True:
            try:
                await self._turn()
                self.error = ""
            except (CallError, ProgramError, OSError) as error:
                self._failed(error)
            self._overdue()
            self._wake.clear()
            if self.settled or self.error:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._retry):
                        await self._wake.wait()

    # ------------------------------------------------------------------------------------------------------ private

    async def _turn(self) -> None:
        """One step on the way to settled."""
        await self._load()
        self._plan()
        if self._job is not None:
            await self._work(self._job)
        if self._expiring:
            await self._expire()

    async def _load(self) -> None:
        """Of a location that can't be read nothing is known yet; one that can is enough to begin with."""
        if self._ready and all(each.loaded for each in self._catalogues):
            return
        failures = []
        for catalogue in self._catalogues:
            try:
                await catalogue.load()
            except CallError as error:
                failures.append(error)
        if failures and len(failures) == len(self._catalogues):
            raise failures[0]
        for kind in () if self._ready else self.schedules:
            known = [backup for each in self._catalogues for backup in each.of(kind)]
            if known:
                self.last[kind] = max(known, key=lambda backup: backup.taken)
                self._slots[kind] = self.last[kind].slot
        self._ready = True

    def _plan(self) -> None:
        """Make the job for what is due. One that still waits for a location goes on first, as long as it is the newest."""
        now = self._clock.now()
        slots: dict[str, int] = {}
        for kind, schedule in self.schedules.items():
            if found := due(schedule, self._slots.get(kind), now):
                slots[kind] = found.slot
                self._missed(kind, found.missed)
        if self._wanted and not slots:
            kind, schedule = next(iter(self.schedules.items()))
            slots[kind] = schedule.slot(now)
        if not slots:
            return
        self._wanted = False
        if self._job is not None:
            slots = {**self._job.slots, **slots}
            self._give_up()
        self._slots |= slots
        self._job = _Job(slots, now)

    def _give_up(self) -> None:
        """A newer backup takes the place of one that has not reached all its locations."""
        if self._job is not None and self._job.waiting:
            places = sorted({each.store.name for _, each in self._job.waiting})
            self._alert("BACKUP_MISSED", {"kinds": sorted(self._job.slots), "locations": places})

    def _missed(self, kind: str, count: int) -> None:
        if count:
            self.missed += count
            self._alert("BACKUP_MISSED", {"kinds": [kind], "slots": count})

    async def _work(self, job: _Job) -> None:
        if not job.archive:
            await self._take(job)
        failure: CallError | None = None
        for backup, catalogue in tuple(job.waiting):
            if job is not self._job:
                return
            try:
                await catalogue.register(backup, job.archive)
            except CallError as error:  # the other locations get it all the same
                failure = error
                continue
            job.waiting.remove((backup, catalogue))
            self.last[backup.kind] = backup
        if failure is not None:
            raise failure
        if job is self._job:
            self._job = None
            self._expiring = True
            self._recovered()

    async def _take(self, job: _Job) -> None:
        """Only what was verified is ever put into a store."""
        folder, archive = self._folder / "base", self._folder / "base.tar.gz"
        shutil.rmtree(folder, ignore_errors=True)
        try:
            taken = await self._programs.base_backup(folder)
            await self._programs.verify(folder)
            await self._programs.pack(folder, archive)
            job.archive = archive.read_bytes()
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            archive.unlink(missing_ok=True)
        for kind, slot in job.slots.items():
            backup = self._describe(kind, slot, job, taken)
            job.waiting += [(backup, each) for each in self._locations(self.schedules[kind])]

    def _describe(self, kind: str, slot: int, job: _Job, taken: Taken) -> Backup:
        return Backup(
            kind=kind,
            id=stamp(job.taken),
            slot=slot,
            taken=job.taken,
            at=self._clock.now() - self._clock.offset,
            size=len(job.archive),
            sha256=hashlib.sha256(job.archive).hexdigest(),
            timeline=taken.timeline,
            start=taken.start,
            end=taken.end,
            start_segment=taken.start_segment,
        )

    def _locations(self, schedule: Schedule) -> list[Catalogue]:
        named = schedule.stores
        return [each for each in self._catalogues if not named or each.store.name in named]

    async def _expire(self) -> None:
        """Backups that are old enough, and the WAL that none of the others needs."""
        now = self._clock.now()
        for catalogue in self._catalogues:
            for kind, schedule in self.schedules.items():
                for backup in expired(schedule, catalogue.of(kind), now):
                    await catalogue.remove(backup)
        # A segment is needed wherever a backup is kept that it leads on from: WAL of one place serves a backup of another.
        kept = [
            [backup for each in self._catalogues for backup in each.of(kind)]
            for kind in self.schedules
        ]
        floor = wal_floor(kept)
        for catalogue in self._catalogues if floor else ():
            for info in await catalogue.store.list(WAL):
                segment = info.key.removeprefix(WAL)[:24]
                if is_segment(segment) and segment[8:] < str(floor):
                    await catalogue.store.delete(info.key)
        self._expiring = False

    def _failed(self, error: Exception) -> None:
        self.failures += 1
        if not self.error:
            self._alert("BACKUP_FAILED", {"error": str(error)})
        self.error = str(error)

    def _overdue(self) -> None:
        """Told once for each time that a kind's newest backup becomes too old."""
        now = self._clock.now()
        for kind, schedule in self.schedules.items():
            last = self.last.get(kind)
            age = (now - last.taken) / NS if last else 0.0
            if age <= OVERDUE * schedule.every:
                self._told.discard(kind)
            elif kind not in self._told:
                self._told.add(kind)
                self._alert("BACKUP_OVERDUE", {"kind": kind, "age_s": age})

    def _recovered(self) -> None:
        if self.error:
            self._alert("BACKUP_RECOVERED", {"failures": self.failures})
