"""When a backup is due and when it expires ("Backup Strategy"). Pure: times come in, decisions go out.

Slots are counted from the Unix epoch: hour and day of UTC. Where time was not watched for several slots (the node was down,
or its clock was moved), the newest slot's backup is taken and the others are told as missed: a backup can't be taken later
for a time that is over.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

import msgspec

from reference_impl.backup.catalogue import Backup
from reference_impl.clock import NS
from reference_impl.config import Positive

HOUR, DAY = 3600.0, 86400.0
B = TypeVar("B", bound=Backup)


class Schedule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`every` and `keep` in s. `stores`: the locations, by the names of their nodes; none named: all."""

    every: Positive
    keep: Positive
    stores: tuple[str, ...] = ()

    def slot(self, now: int) -> int:
        """The slot that `now` (Unix ns) is in."""
        return now // round(self.every * NS)

    def starts(self, slot: int) -> int:
        """When a slot begins, Unix ns."""
        return slot * round(self.every * NS)


class Due(msgspec.Struct, frozen=True):
    """A backup for `slot` is to be taken now; `missed` slots before it have none and never will."""

    slot: int
    missed: int


def due(schedule: Schedule, last: int | None, now: int) -> Due | None:
    """`last`: the slot of the last backup, None for the first of all, which is due at once."""
    slot = schedule.slot(now)
    if last is None:
        return Due(slot, 0)
    return Due(slot, slot - last - 1) if slot > last else None


def expired(schedule: Schedule, backups: Iterable[B], now: int) -> list[B]:
    """Those of one kind at one location that are `keep` old; never the newest, however old it is."""
    ordered = sorted(backups, key=lambda backup: backup.taken)
    limit = now - round(schedule.keep * NS)
    return [backup for backup in ordered[:-1] if backup.taken <= limit]


def wal_floor(kept: Sequence[Sequence[Backup]]) -> str | None:
    """The first WAL segment's name (without its timeline) to keep at a location; None: keep all.

    `kept`: what is kept there, by kind, the most frequent first. Each backup carries the WAL that it needs to be whole;
    the archive makes the times between backups restorable. That is promised as far back as the most frequent kind is kept
    (7 days), for which segments from the start of its oldest backup on are needed.
    """
    for backups in kept:
        if backups:
            return min(backup.start_segment for backup in backups)[8:]
    return None
