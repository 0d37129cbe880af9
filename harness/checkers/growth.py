"""Hierarchical fan-out: with several times the PoPs, a PoP costs no more, and the origin does not notice."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.checkers.base import Checker, Result, clock, windows
from harness.checkers.soundness import fault_doubts, run_doubts
from harness.checkers.status_field import field_of
from harness.checkers.usage import cpu_between
from harness.history import Crowd, Status
from harness.history_io import Window
from harness.units import NS, to_s
from harness.verdict import Evidence

if TYPE_CHECKING:
    from harness.history_io import History
    from harness.verdict import Finding

SETTLE = 3 * NS  # what was acknowledged later than that before the end may be under way
LEAST_CHANGES = 20  # in a window, for a cost to be one


@dataclass(frozen=True, slots=True)
class _Cost:
    """What one change cost in a window, s of CPU: at all hubs together, and at the origin."""

    window: Window
    pops: int
    changes: int
    hubs: float
    origin: float

    @property
    def per_pop(self) -> float:
        return self.hubs / self.pops


@dataclass(frozen=True, kw_only=True)
class Growth(Checker):
    """From the windows of the phase `small` to those of `large`, of CPU time: a change's cost for each PoP at `hubs`, and its cost
    at the `origin`, grow to at most `ratio`; the origin's `connections` (a field of its status) not at all. No PoP misses a
    change.

    PoPs are those of the crowds at the hubs that are there for a whole window; changes are acknowledged `writes`. Needs probes
    of the processes of all of them and of the origin's status.
    """

    hubs: tuple[str, ...]
    origin: str
    writes: tuple[str, ...]
    small: str
    large: str
    ratio: float = 1.25
    least: float = 3.0  # times the PoPs of `small` that there must be in `large`
    connections: str = "subscribers"

    name: ClassVar[str] = "growth"

    def __call__(self, history: History) -> list[Finding]:
        small, large = self._costs(history, self.small), self._costs(history, self.large)
        doubts = run_doubts(history) + fault_doubts(history, history.last)
        for phase, costs in ((self.small, small), (self.large, large)):
            if not costs or None in costs:
                doubts.append(f"what a change costs in the phase {phase} was not seen")
        before = [cost for cost in small if cost is not None]
        after = [cost for cost in large if cost is not None]
        doubts += self._grown(before, after)
        results = [
            self._ratio("of a change for each PoP", [c.per_pop for c in before], [c.per_pop for c in after]),
            self._ratio(f"of a change at {self.origin}", [c.origin for c in before], [c.origin for c in after]),
            self._connections(history),
            self._delivery(history),
        ]  # fmt: skip
        for result in results:
            result.doubts += doubts
            result.evidence += [_evidence(cost) for cost in (*before, *after)]
        return [result.finding(self) for result in results]

    def _costs(self, history: History, phase: str) -> list[_Cost | None]:
        if not any(p.name == phase for p in history.phases):
            return []
        return [self._cost(history, window) for window in windows(history, phase)]

    def _cost(self, history: History, window: Window) -> _Cost | None:
        """None where anything of it was not seen."""
        per_change = {}
        changes = 0
        for node in (*self.hubs, self.origin):
            spent = cpu_between(history, node, window.start, window.end)
            if spent is None:
                return None
            changes = self._changes(history, spent.start, spent.end)
            if changes < LEAST_CHANGES:
                return None
            per_change[node] = spent.cpu / NS / changes
        pops = sum(crowd.streams for crowd in self._crowds(history) if _whole(crowd, window))
        if not pops:
            return None
        hubs = sum(per_change[hub] for hub in self.hubs)
        return _Cost(window, pops, changes, hubs, per_change[self.origin])

    def _changes(self, history: History, start: int, end: int) -> int:
        """Writes that were acknowledged in that time."""
        return sum(
            request.complete is not None
            and request.complete.outcome == "ok"
            and start <= request.complete.t < end
            for name in self.writes
            if name in history.probes
            for request in history.probes[name].requests
        )

    def _crowds(self, history: History) -> list[Crowd]:
        return [crowd for crowd in history.of(Crowd) if crowd.node in self.hubs]

    def _grown(self, before: list[_Cost], after: list[_Cost]) -> list[str]:
        if not before or not after:
            return []
        few, many = max(cost.pops for cost in before), min(cost.pops for cost in after)
        if many >= self.least * few:
            return []
        return [f"{few} PoPs grew to {many} only, not to {self.least:g} times as many"]

    def _ratio(self, what: str, before: list[float], after: list[float]) -> Result:
        result = Result(
            subject=f"cost {what}",
            claim=f"the cost {what} grows to at most {self.ratio:g} times",
            bound=self.ratio,
            unit="times",
        )
        if not before or not after or min(before) <= 0:
            result.doubts.append("there is no cost to compare")
            return result
        result.value = (sum(after) / len(after)) / (sum(before) / len(before))
        # Every window of one phase against every one of the other: how far one pair may lie from another.
        ratios = [more / less for more in after for less in before]
        result.error = (max(ratios) - min(ratios)) / 2
        result.figures = {
            "before_us": sum(before) / len(before) * 1e6,
            "after_us": sum(after) / len(after) * 1e6,
        }
        return result

    def _connections(self, history: History) -> Result:
        result = Result(
            subject=f"connections of {self.origin}",
            claim=f"{self.origin} has no more {self.connections} with more PoPs",
            bound=0.0,
            error=0.0,
            unit="connections",
        )
        before, after = self._most(history, self.small), self._most(history, self.large)
        if before is None or after is None:
            result.doubts.append(f"{self.origin} was not asked for its {self.connections}")
            return result
        result.value = after - before
        result.figures = {"before": before, "after": after}
        return result

    def _most(self, history: History, phase: str) -> float | None:
        spans = windows(history, phase)
        seen = [
            value
            for status in history.of(Status)
            if status.node == self.origin and status.ok and any(status.t in span for span in spans)
            if isinstance(value := field_of(status, self.connections), int | float)
        ]
        return float(max(seen)) if seen else None

    def _delivery(self, history: History) -> Result:
        crowds = self._crowds(history)
        missing = sum(self._missing(history, crowd) for crowd in crowds)
        result = Result(
            subject="delivery",
            claim="no PoP misses a change, and none gets one twice",
            value=float(missing),
            bound=0.0,
            error=0.0,
            unit="changes",
            evidence=[_crowd_evidence(crowd) for crowd in crowds if self._missing(history, crowd)],
        )
        if not crowds:
            result.doubts.append("no crowd of PoPs was there")
        worst = max((crowd.p99 for crowd in crowds), default=math.nan)
        if crowds:
            cut = float(sum(crowd.closes for crowd in crowds))
            result.figures = {"worst_p99_ms": worst, "cut": cut}
        return result

    def _missing(self, history: History, crowd: Crowd) -> int:
        """Changes that are missing or came twice, and how far the last of them is behind what was acknowledged long ago.

        One that was cut may have a snapshot instead of changes: it was told, and that is no gap.
        """
        newest = max(
            (
                done.version
                for name in self.writes
                if name in history.probes
                for request in history.probes[name].requests
                if (done := request.complete)
                and done.outcome == "ok"
                and done.t <= crowd.t - SETTLE
            ),
            default=-1,
        )
        return crowd.gaps + crowd.repeats + max(0, newest - crowd.first)


def _whole(crowd: Crowd, window: Window) -> bool:
    return crowd.began <= window.start and crowd.t >= window.end


def _evidence(cost: _Cost) -> Evidence:
    text = (
        f"{cost.window.name}: {cost.pops} PoPs, {cost.changes} changes from {clock(cost.window.start)}; "
        f"a change costs {cost.per_pop * 1e6:.1f} µs for each PoP, {cost.origin * 1e6:.0f} µs at the origin"
    )
    return Evidence(cost.window.start, text)


def _crowd_evidence(crowd: Crowd) -> Evidence:
    text = (
        f"{crowd.streams} streams of {crowd.node} since {to_s(crowd.began):.1f} s: {crowd.changes} changes, "
        f"{crowd.gaps} gaps, {crowd.repeats} repeats, {crowd.closes} cut"
    )
    return Evidence(crowd.t, text)
