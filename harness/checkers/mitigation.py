"""The loss of a component that could be a single point of failure: something else does its work, until it is back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from harness.checkers.base import (
    Checker,
    Result,
    clock,
    fault_text,
    faults_named,
    onset_evidence,
    whole,
)
from harness.checkers.soundness import fault_doubts, probe_doubts, run_doubts
from harness.checkers.status_field import field_of
from harness.checkers.writes import same_value
from harness.history import Status
from harness.history_io import Window
from harness.requirements import single_points
from harness.units import Seconds, to_ns, to_s
from harness.verdict import Evidence, Verdict

if TYPE_CHECKING:
    from harness.history_io import FaultRun, History
    from harness.verdict import Finding


@dataclass(frozen=True, slots=True)
class _Sight:
    """At `t` it was seen that `who` does the work; None: that nobody does, or not whom was asked."""

    t: int
    who: object


@dataclass(frozen=True, kw_only=True)
class Mitigation(Checker):
    """`component`, a row of the specification's "Single Points of Failure Analysis", is lost to `fault`. Who does its work is seen

    * by `field` of the status of `node`: its value; or
    * by `nodes` whose status has a true `field`: their names; or
    * by `probe`, whose evaluations say which node answered.

    Just before the onset it must be one of `normal`. Two findings: from the onset to the first sight of one of `instead`, within
    `within`, and none of `normal` from then on until the heal; from the heal to the first sight of `normal` after which, until the next
    fault, it is none of `instead`, within `back_within` (None: what does the work then may go on, and is not judged). Times in s.
    """

    component: str
    fault: str
    normal: tuple[Any, ...]
    instead: tuple[Any, ...]
    within: Seconds
    back_within: Seconds | None = None
    node: str = ""
    nodes: tuple[str, ...] = ()
    field: str = ""
    probe: str = ""

    name: ClassVar[str] = "mitigation"

    def __post_init__(self) -> None:
        known = [point.component for point in single_points()]
        if self.component not in known:
            raise ValueError(f"no component '{self.component}'; there are {', '.join(known)}")
        if sum(map(bool, (self.node, self.nodes, self.probe))) != 1:
            raise ValueError("give one of node, nodes and probe")
        if bool(self.field) == bool(self.probe):
            raise ValueError("give a field with node or nodes, and none with probe")
        if not self.normal or not self.instead:
            raise ValueError("normal and instead must each name something")

    def __call__(self, history: History) -> list[Finding]:
        runs = faults_named(history, self.fault)
        if not runs:
            doubt = f"the history has no fault {self.fault}"
            return [Result(subject=self.component, doubts=[doubt]).finding(self)]
        return [found.finding(self) for run in runs for found in self._fault(history, run)]

    def _fault(self, history: History, run: FaultRun) -> list[Result]:
        sights = self._sights(history)
        onset = run.onset or 0
        end = _next_fault(history, run.heal) if run.heal is not None else whole(history).end
        lost = self._result(run, self.instead, self.within)
        self._before(lost, sights, onset)
        first = Window(onset, end if run.heal is None else run.heal)
        _measure(lost, sights, first, self.instead, self.normal)
        results = [lost]
        if self.back_within is not None:
            results.append(self._back(run, sights, end, self.back_within))
        doubts = [*run_doubts(history), *fault_doubts(history, end)]
        if self.probe:
            doubts += probe_doubts(history, self.probe, Window(onset, end), timely=False)
        for result in results:
            result.evidence += onset_evidence(run)
            result.doubts += doubts
        return results

    def _back(self, run: FaultRun, sights: list[_Sight], end: int, within: Seconds) -> Result:
        back = self._result(run, self.normal, within, "again ")
        if run.heal is None:
            back.doubts.append(f"the fault {fault_text(run)} was never healed")
        else:
            _measure(back, sights, Window(run.heal, end), self.normal, self.instead)
        return back

    def _result(
        self, run: FaultRun, wanted: tuple[Any, ...], within: Seconds, how: str = ""
    ) -> Result:
        names = " or ".join(map(str, wanted))
        return Result(
            subject=f"{self.component} {'back after' if how else 'lost to'} {fault_text(run)}",
            claim=f"{how}{names} does the work within {within:g} s",
            bound=float(within),
            unit="s",
        )

    def _before(self, result: Result, sights: list[_Sight], onset: int) -> None:
        before = [sight for sight in sights if sight.t < onset and not self._idle(sight)]
        last = before[-1] if before else None
        if last is None or not _is(last, self.normal):
            seen = "nobody" if last is None else repr(last.who)
            result.doubts.append(f"before the fault it was {seen}, none of those that were to fail")

    def _idle(self, sight: _Sight) -> bool:
        """One of several nodes said that it does not do the work: another may."""
        return bool(self.nodes) and sight.who is None

    def _sights(self, history: History) -> list[_Sight]:
        """In the order of time."""
        if self.probe:
            run = history.probes.get(self.probe)
            done = [r.complete for r in run.requests if r.complete] if run else []
            sights = [_Sight(c.t, c.node) for c in done if c.outcome == "ok" and c.node]
        elif self.nodes:
            told = [s for s in history.of(Status) if s.ok and s.node in self.nodes]
            sights = [_Sight(s.t, s.node if field_of(s, self.field) else None) for s in told]
        else:
            told = [s for s in history.of(Status) if s.ok and s.node == self.node]
            sights = [_Sight(s.t, field_of(s, self.field)) for s in told]
        return sorted(sights, key=lambda sight: sight.t)


def _is(sight: _Sight, wanted: tuple[Any, ...]) -> bool:
    return any(same_value(sight.who, each) for each in wanted)


def _next_fault(history: History, after: int) -> int:
    """When the next fault is about to be injected, or the end of what was measured."""
    starts = [run.stages[0].t for run in history.faults.values()]
    return min([start for start in starts if start > after], default=whole(history).end)


def _measure(
    result: Result,
    sights: list[_Sight],
    window: Window,
    wanted: tuple[Any, ...],
    unwanted: tuple[Any, ...],
) -> None:
    """The value is from the window's start to the first sight of the wanted, after which in the window there is none of the unwanted."""
    inside = [sight for sight in sights if sight.t in window]
    result.figures = {"sights": float(len(inside))}
    found: _Sight | None = None
    previous = window.start
    for sight in inside:
        if _is(sight, unwanted):
            found = None
        elif found is None and _is(sight, wanted):
            found, result.error = sight, to_s(sight.t - previous)
        previous = sight.t
    if found is not None:
        result.value = to_s(found.t - window.start)
        result.evidence.append(Evidence(found.t, f"{found.who} does the work"))
        return
    result.verdict = Verdict.UNKNOWN
    result.reason = f"nobody was seen to do the work until {clock(window.end)}"
    if inside:
        last = inside[-1]
        result.reason = f"it was {last.who!r} at {clock(last.t)}"
        result.evidence.append(Evidence(last.t, f"{last.who!r} does the work"))
        if last.t - window.start > to_ns(result.bound or 0.0):
            result.verdict = Verdict.FAIL
