"""A field of a node's status takes an expected value within a time of a fault."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from harness.checkers.base import (
    Checker,
    Result,
    clock,
    fault_text,
    faults_named,
    onset_evidence,
    windows,
)
from harness.checkers.soundness import fault_doubts, run_doubts
from harness.checkers.writes import same_value
from harness.history import Status
from harness.units import NS, Seconds, to_ns, to_s
from harness.verdict import Evidence, Verdict

if TYPE_CHECKING:
    from harness.history_io import FaultRun, History
    from harness.verdict import Finding

OWN = ("ok", "error", "role", "level", "version", "upstream", "boot")


@dataclass(frozen=True, kw_only=True)
class StatusField(Checker):
    """`field` of the status of `node`: one of its own fields (ok, error, role, level, version, upstream, boot), or a dotted path in its data.

    Met when it equals `equals` (or one of `one_of`), or is a number of at least `at_least`. Judged is the time from
    the fault's onset or heal to the first status that meets it, asked for after that. With `stays`, all later ones
    until the fault's heal (or the end) must meet it too. With `phase` its start and end are those that count, and the
    field must not have met it before.
    """

    node: str
    field: str
    within: Seconds
    equals: Any = None
    one_of: tuple[Any, ...] = ()
    at_least: float | None = None
    fault: str = ""
    phase: str = ""
    since: Literal["onset", "heal"] = "onset"
    stays: bool = False

    name: ClassVar[str] = "status_field"

    def __post_init__(self) -> None:
        if self.fault and self.phase:
            raise ValueError("give a fault or a phase, not both")

    def __call__(self, history: History) -> list[Finding]:
        if self.phase:
            return [result.finding(self) for result in self._phases(history)]
        runs = faults_named(history, self.fault)
        if not runs:
            doubt = f"the history has no fault {self.fault}".rstrip()
            return [Result(subject=self.node, doubts=[doubt]).finding(self)]
        return [self._fault(history, run).finding(self) for run in runs]

    def _fault(self, history: History, run: FaultRun) -> Result:
        start = run.onset if self.since == "onset" else run.heal
        result = self._result(history, f"after {fault_text(run)}")
        result.evidence += onset_evidence(run)
        if start is None:
            result.doubts.append(f"the fault {fault_text(run)} was never healed")
            return result
        end = run.heal if self.since == "onset" and run.heal is not None else history.last
        self._judge(history, result, start, end)
        return result

    def _phases(self, history: History) -> list[Result]:
        spans = windows(history, self.phase)
        results = [self._result(history, f"in {span.name}") for span in spans]
        for result, span in zip(results, spans, strict=True):
            before = [s for s in history.of(Status) if s.node == self.node and s.t < span.start]
            if not before or self._meets(before[-1]):
                result.doubts.append(f"{self.field} was not known to be anything else before")
            self._judge(history, result, span.start, span.end)
        doubt = f"the history has no phase {self.phase}"
        return results or [Result(subject=self.node, doubts=[doubt])]

    def _result(self, history: History, when: str) -> Result:
        return Result(
            subject=f"{self.node} {when}",
            claim=f"{self.field} is {self._wanted()} within {self.within:g} s",
            bound=float(self.within),
            unit="s",
            doubts=run_doubts(history),
        )

    def _judge(self, history: History, result: Result, start: int, end: int) -> None:
        result.doubts += fault_doubts(history, end)
        statuses = [s for s in history.of(Status) if s.node == self.node]
        inside = [s for s in statuses if start <= s.t < end]
        before = [s for s in statuses if s.t < start]
        result.figures = {"statuses": float(len(inside))}
        if not inside:
            result.doubts.append(f"{self.node} was not asked for its status")
            return
        self._measure(result, [*before[-1:], *inside], start, end)

    def _measure(self, result: Result, statuses: list[Status], start: int, end: int) -> None:
        met: int | None = None
        previous = start
        for status in statuses:
            if status.t < start:
                continue
            if self._meets(status):
                if met is None:
                    met = status.t
                    result.error = to_s(status.t - previous)
                    shown = f"{self.node}: {self.field} is {field_of(status, self.field)!r}"
                    result.evidence.append(Evidence(status.t, shown))
            elif met is not None and self.stays:
                met = None
            previous = status.t
        if met is not None:
            result.value = to_s(met - start)
            return
        last = statuses[-1]
        seen = f"{self.field} was {field_of(last, self.field)!r} at {clock(last.t)}"
        result.evidence.append(Evidence(last.t, f"{self.node}: {seen}"))
        watched = last.t - start > to_ns(self.within)
        result.verdict = Verdict.FAIL if watched else Verdict.UNKNOWN
        result.reason = f"{seen}; looked at until {end / NS:.3f} s"

    def _wanted(self) -> str:
        if self.at_least is not None:
            return f"at least {self.at_least:g}"
        return " or ".join(repr(v) for v in (self.one_of or (self.equals,)))

    def _meets(self, status: Status) -> bool:
        return meets(status, self.field, self.one_of or (self.equals,), self.at_least)


def meets(status: Status, name: str, one_of: tuple[Any, ...], at_least: float | None) -> bool:
    """Whether a field is a number of `at_least` that, where this is given; else whether it is one of those values."""
    value = field_of(status, name)
    if at_least is not None:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and float(value) >= at_least  # type: ignore[arg-type]
    return any(same_value(value, wanted) for wanted in one_of)


def field_of(status: Status, name: str) -> object:
    """One of a status's own fields, or what a dotted path leads to in its data; None when it leads nowhere."""
    if name in OWN:
        return getattr(status, name)
    value: object = status.data
    for part in name.split("."):
        if not isinstance(value, dict) or part not in value:
            return None
        value = value[part]
    return value
