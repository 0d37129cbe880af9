"""Checkers: pure functions from a history to findings. A scenario names them and gives their fields."""

from __future__ import annotations

from harness.checkers.absent import Absent
from harness.checkers.alert import Alert
from harness.checkers.answers import Answers
from harness.checkers.availability import Availability
from harness.checkers.backups import Backups
from harness.checkers.base import Checker
from harness.checkers.breaker import Breaker
from harness.checkers.called import Called
from harness.checkers.durability import Durability
from harness.checkers.exclusive import Exclusive
from harness.checkers.growth import Growth
from harness.checkers.levels import Levels
from harness.checkers.names import Names
from harness.checkers.procedure import Procedure
from harness.checkers.propagation import Propagation
from harness.checkers.recommended import Recommended
from harness.checkers.reconnect_spread import ReconnectSpread
from harness.checkers.reconvergence import Reconvergence
from harness.checkers.recovery import Recovery
from harness.checkers.replacement import Replacement
from harness.checkers.retries import Retries
from harness.checkers.route import Route
from harness.checkers.shared_memory import SharedMemory
from harness.checkers.shared_store import SharedStore
from harness.checkers.staleness import Staleness
from harness.checkers.status_field import StatusField
from harness.checkers.stream import StreamOrder

CHECKERS: dict[str, type[Checker]] = {
    cls.name: cls
    for cls in (
        Absent,
        Alert,
        Answers,
        Availability,
        Backups,
        Breaker,
        Called,
        Durability,
        Exclusive,
        Growth,
        Levels,
        Names,
        Procedure,
        Propagation,
        Recommended,
        ReconnectSpread,
        Reconvergence,
        Recovery,
        Replacement,
        Retries,
        Route,
        SharedMemory,
        SharedStore,
        Staleness,
        StatusField,
        StreamOrder,
    )
}

__all__ = ["CHECKERS", "Checker"]
