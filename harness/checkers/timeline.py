"""Which level each node said it was at, when: from the transitions that nodes record themselves."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.history import Status, Transition

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.history_io import History

CHAIN = ("HEALTHY", "DEGRADED_L1", "DEGRADED_L2", "EMERGENCY")


@dataclass(frozen=True, slots=True)
class Boot:
    """One life of a node. `seen` is the last status it gave; `start`, `end`: when no other life was seen, ns."""

    node: str
    boot: str
    seen: Status
    start: int
    end: int

    @property
    def transitions(self) -> list[Transition]:
        return self.seen.transitions

    def levels(self, a: int, b: int) -> set[str]:
        """The levels that it was at for some moment from a to b (ns); empty outside its life."""
        if b < self.start or a > self.end:
            return set()
        steps = self.transitions
        if not steps:
            return {self.seen.level}
        times = [s.t for s in steps]
        begin, finish = bisect_right(times, a), bisect_right(times, b)
        at_first = steps[begin - 1].to if begin else steps[0].source
        return {at_first, *(s.to for s in steps[begin:finish])}


def boots_of(history: History, node: str) -> list[Boot]:
    """A node's lives in order, each with its last status."""
    answers = [s for s in history.of(Status) if s.node == node and s.ok]
    order: dict[str, list[Status]] = {}
    for status in answers:
        order.setdefault(status.boot, []).append(status)
    lives = list(order.items())
    boots = []
    for n, (boot, seen) in enumerate(lives):
        start = lives[n - 1][1][-1].t if n else 0
        end = lives[n + 1][1][0].t if n + 1 < len(lives) else 1 << 62
        boots.append(Boot(node, boot, seen[-1], start, end))
    return boots


def levelled_nodes(history: History) -> list[str]:
    """The nodes that ever told a level."""
    return list(dict.fromkeys(s.node for s in history.of(Status) if s.ok and s.level))


def adjacent(source: str, to: str) -> bool:
    """One step along the chain HEALTHY, DEGRADED_L1, DEGRADED_L2, EMERGENCY, either way."""
    if source not in CHAIN or to not in CHAIN:
        return False
    return abs(CHAIN.index(source) - CHAIN.index(to)) == 1


def steps_from(boots: Sequence[Boot], t: int) -> list[Transition]:
    """All transitions at or after `t`, by time."""
    return sorted((s for b in boots for s in b.transitions if s.t >= t), key=lambda s: s.t)
