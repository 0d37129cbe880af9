"""Checkers: pure functions from a history to findings. A scenario names them and gives their fields."""

from __future__ import annotations

from harness.checkers.absent import Absent
from harness.checkers.alert import Alert
from harness.checkers.answers import Answers
from harness.checkers.autoscaling import Autoscaling
from harness.checkers.availability import Availability
from harness.checkers.backups import Backups
from harness.checkers.base import Checker
from harness.checkers.bounded import Bounded
from harness.checkers.breaker import Breaker
from harness.checkers.called import Called
from harness.checkers.counters import CounterRate, CounterShare
from harness.checkers.durability import Durability
from harness.checkers.exclusive import Exclusive
from harness.checkers.growth import Growth
from harness.checkers.hot_spot import HotSpot
from harness.checkers.levels import Levels
from harness.checkers.load_totals import LoadTotals
from harness.checkers.memory import Memory
from harness.checkers.mitigation import Mitigation
from harness.checkers.names import Names
from harness.checkers.open_streams import OpenStreams
from harness.checkers.placement import Placement
from harness.checkers.prewarm import Prewarm
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
from harness.checkers.shedding import Shedding
from harness.checkers.staleness import Staleness
from harness.checkers.status_field import StatusField
from harness.checkers.stream import StreamOrder
from harness.checkers.untouched import Untouched
from harness.checkers.versions import Versions

CHECKERS: dict[str, type[Checker]] = {
    cls.name: cls
    for cls in (
        Absent,
        Alert,
        Answers,
        Autoscaling,
        Availability,
        Backups,
        Bounded,
        Breaker,
        Called,
        CounterRate,
        CounterShare,
        Durability,
        Exclusive,
        Growth,
        HotSpot,
        Levels,
        LoadTotals,
        Memory,
        Mitigation,
        Names,
        OpenStreams,
        Placement,
        Prewarm,
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
        Shedding,
        Staleness,
        StatusField,
        StreamOrder,
        Untouched,
        Versions,
    )
}

__all__ = ["CHECKERS", "Checker"]
