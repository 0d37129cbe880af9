"""What all checkers share: their common fields, how a figure is judged, windows of time, and how findings are made."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, TypeVar

from harness.history_io import FaultRun, History, Window
from harness.units import to_s
from harness.verdict import Evidence, Finding, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

MOST_EVIDENCE = 8

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Checker:
    """A claim with its bound; calling it on a history judges the claim. Pure: a history in, findings out."""

    requirement: str
    claim: str = ""

    name: ClassVar[str]

    def __call__(self, history: History) -> list[Finding]:
        raise NotImplementedError


@dataclass(slots=True)
class Result:
    """What a check measured, before soundness is weighed. `doubts` are reasons why it shows nothing."""

    subject: str = ""
    claim: str = ""
    value: float | None = None
    relation: str = "<="
    bound: float | None = None
    error: float | None = None
    unit: str = ""
    kind: str = ""
    reason: str = ""
    verdict: Verdict | None = None  # None: value against bound decides
    stalled: float = 0.0  # of the value, how much may be the machine's, in the value's unit
    figures: dict[str, float] = field(default_factory=dict)
    evidence: list[Evidence] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)

    def finding(self, checker: Checker) -> Finding:
        """Doubts outweigh everything: what rests on an unsound measurement is unknown, for good or bad.

        What was measured is kept, and a broken bound is still told in the reason.
        """
        verdict, reason = self._judged()
        if self.doubts:
            seen = f"; otherwise: {reason}" if verdict is Verdict.FAIL and reason else ""
            verdict, reason = Verdict.UNKNOWN, "; ".join(dict.fromkeys(self.doubts)) + seen
        return Finding(
            check=checker.name,
            requirement=checker.requirement,
            claim=self._claim(checker),
            verdict=verdict,
            reason=reason,
            value=self.value,
            relation=self.relation,
            bound=self.bound,
            error=self.error,
            unit=self.unit,
            figures=self.figures,
            evidence=tuple(sorted(self.evidence[:MOST_EVIDENCE], key=lambda e: e.t)),
            kind=self.kind,
            subject=self.subject,
        )

    def _claim(self, checker: Checker) -> str:
        """The scenario's words first; a checker of several claims adds its own."""
        said = [text for text in (checker.claim, self.claim) if text]
        return ": ".join(said) or f"the check {checker.name} can judge the history"

    def _judged(self) -> tuple[Verdict, str]:
        if self.verdict is not None:
            return self.verdict, self.reason
        if self.value is None:
            return Verdict.UNKNOWN, self.reason or "nothing was measured"
        if self.bound is None:
            return Verdict.PASS, self.reason
        verdict = judge(self.value, self.relation, self.bound, self.error or 0.0)
        # A stall only ever makes what is waited for later: within the bound it takes nothing away.
        if verdict is Verdict.FAIL and self.stalled:
            verdict = judge(
                self.value, self.relation, self.bound, (self.error or 0.0) + self.stalled
            )
            if verdict is not Verdict.FAIL:
                seen = f"the machine stood still for {self.stalled:.3g} {self.unit} of it"
                return Verdict.UNKNOWN, f"{_explain(self, Verdict.FAIL)}; {seen}"
        return verdict, self.reason or _explain(self, verdict)


def judge(value: float, relation: str, bound: float, error: float) -> Verdict:
    """Pass within the bound, fail beyond it by more than the error; between the two nobody can tell.

    :raises ValueError: for a relation other than "<=", ">=", "==".
    """
    if relation == "<=":
        over = value - bound
    elif relation == ">=":
        over = bound - value
    elif relation == "==":
        over = abs(value - bound)
    else:
        raise ValueError(f"unknown relation {relation!r}")
    if math.isnan(over):
        return Verdict.UNKNOWN
    if over <= 0:
        return Verdict.PASS
    return Verdict.FAIL if over > error else Verdict.UNKNOWN


def _explain(result: Result, verdict: Verdict) -> str:
    if verdict is Verdict.PASS:
        return ""
    said = f"{result.value:g} {result.unit} is not {result.relation} {result.bound:g} {result.unit}"
    if verdict is Verdict.UNKNOWN:
        said += f", but by less than the measurement error of {result.error or 0.0:g} {result.unit}"
    return said


def quantile(values: Sequence[float], q: float) -> float:
    """The nearest-rank quantile: a value that was really seen. NaN for none. `values` need not be sorted."""
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[max(0, math.ceil(q * len(ordered)) - 1)]


def spread_figures(values: Sequence[float], prefix: str = "") -> dict[str, float]:
    """p50, p99, max and n of `values`, as figures; only n when there are none."""
    figures = {f"{prefix}n": float(len(values))}
    if values:
        figures[f"{prefix}p50"] = quantile(values, 0.5)
        figures[f"{prefix}p99"] = quantile(values, 0.99)
        figures[f"{prefix}max"] = max(values)
    return figures


def clock(t: int) -> str:
    """An instant on the history's clock, as reasons and evidence name it."""
    return f"{to_s(t):.3f} s"


def whole(history: History) -> Window:
    """From the origin to the end of what was measured.

    The engine stops all probes and then heals what is still in force: what lies behind the last probe's end was
    looked at by nobody.
    """
    last = history.last
    ends = [p.end.t for p in history.probes.values() if p.end is not None]
    if ends and len(ends) == len([p for p in history.probes.values() if p.start is not None]):
        last = min(last, max(ends))
    return Window(0, last, "")


def windows(history: History, phase: str) -> list[Window]:
    """The spans of a phase, or the whole timeline for "", cut at the end of what was measured."""
    everything = whole(history)
    if not phase:
        return [everything]
    return [
        Window(p.start, max(p.start, min(p.end, everything.end)), p.name)
        for p in history.phases
        if p.name == phase
    ]


def faults_named(history: History, fault: str) -> list[FaultRun]:
    """The faults with that label, else of that kind; "" means all. In the order of their onsets."""
    runs = [run for run in history.faults.values() if run.onset is not None]
    runs.sort(key=lambda run: run.onset or 0)
    if not fault:
        return runs
    labelled = [run for run in runs if any(s.label == fault for s in run.stages)]
    return labelled or [run for run in runs if run.name == fault]


def fault_text(run: FaultRun) -> str:
    """How a finding names a fault: its label, or its kind and targets."""
    label = next((s.label for s in run.stages if s.label), "")
    return label or f"{run.name} of {', '.join(run.targets) or 'nothing'}"


def onset_evidence(run: FaultRun) -> list[Evidence]:
    """The stages of a fault's life, as evidence."""
    return [
        Evidence(s.t, f"{fault_text(run)}: {s.stage}{': ' + s.seen if s.seen else ''}")
        for s in run.stages
        if s.stage in ("inject", "verified", "heal")
    ]


def first(items: Iterable[T], test: Callable[[T], bool]) -> T | None:
    """The first item that passes the test, or None."""
    return next((item for item in items if test(item)), None)
