"""Scaling thresholds: what the platform recommends to add, when a threshold was really crossed, and not before."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, ClassVar

from harness.checkers.base import (
    Checker,
    Result,
    clock,
    fault_text,
    faults_named,
    onset_evidence,
    whole,
)
from harness.checkers.soundness import fault_doubts, longest_stall, run_doubts
from harness.checkers.usage import cpu_shares, memory_shares
from harness.history import Filled, Note, Recommendation
from harness.history_io import Window
from harness.units import NS, Seconds, to_ns, to_s
from harness.verdict import Evidence, Verdict

if TYPE_CHECKING:
    from harness.history_io import FaultRun, History, ProbeRun
    from harness.verdict import Finding

RAISED, WITHDRAWN = "raised", "withdrawn"
TOGETHER = 2 * NS  # within which probes end that are told to at once
ERROR = 0.001  # s; both ends of what is measured are read from one clock


@dataclass(frozen=True, slots=True)
class _Cause:
    """What crosses the threshold: not before `onset`, surely by `crossed` (ns). `over`: when it ends, if it does."""

    text: str
    onset: int
    crossed: int
    over: int | None
    evidence: tuple[Evidence, ...]


@dataclass(frozen=True, kw_only=True)
class Recommended(Checker):
    """`kind` is recommended for `metric` of `node` within `within` of its cause, never before it, for a value above `threshold`.

    The cause is a fault, whose onset counts, or the flags that are filled in within `phase`. With `withdrawn` it is taken back
    within that time of the fault's heal, and not sooner. `never`: it is not recommended at all (all three may be patterns
    then). Of the metrics "cpu" and "memory" (of `limit` bytes) the crossing must be seen from outside, by a probe of its
    processes. Needs a probe of the recommendations.
    """

    kind: str
    node: str
    metric: str
    within: Seconds = Seconds(0.0)
    threshold: float = 0.0
    fault: str = ""
    phase: str = ""
    withdrawn: Seconds | None = None
    never: bool = False
    limit: int = 0

    name: ClassVar[str] = "recommended"

    def __post_init__(self) -> None:
        causes = [self.never, bool(self.fault), bool(self.phase)]
        if sum(causes) != 1:
            raise ValueError("give a fault, a phase, or never: one of them")
        if not self.never and (self.within <= 0 or self.threshold <= 0):
            raise ValueError("within and threshold must be more than 0")

    def __call__(self, history: History) -> list[Finding]:
        said = [one for one in history.of(Recommendation) if self._fits(one)]
        said.sort(key=lambda one: (one.t, one.n))
        if self.never:
            return [self._never(history, said).finding(self)]
        cause, doubt = self._cause(history)
        if cause is None:
            return [Result(subject=self._what, doubts=[doubt]).finding(self)]
        results = [self._raised(history, cause, said)]
        if self.withdrawn is not None:
            results.append(self._withdrawn(history, cause, said))
        return [result.finding(self) for result in results]

    @property
    def _what(self) -> str:
        return f"{self.kind} for {self.metric} of {self.node}"

    def _fits(self, one: Recommendation) -> bool:
        mine = ((one.kind, self.kind), (one.node, self.node), (one.metric, self.metric))
        return all(fnmatchcase(value, wanted) for value, wanted in mine)

    def _cause(self, history: History) -> tuple[_Cause | None, str]:
        if self.phase:
            return self._filled(history)
        runs = faults_named(history, self.fault)
        if not runs:
            return None, f"the history has no fault {self.fault}"
        return self._faulty(runs[0]), ""

    def _faulty(self, run: FaultRun) -> _Cause:
        onset = run.onset or 0
        return _Cause(fault_text(run), onset, onset, run.heal, tuple(onset_evidence(run)))

    def _filled(self, history: History) -> tuple[_Cause | None, str]:
        start = next((p.start for p in history.phases if p.name == self.phase), None)
        if start is None:
            return None, f"the history has no phase {self.phase}"
        filled = next((f for f in history.of(Filled) if f.t >= start), None)
        if filled is None:
            return None, f"no flags were filled in after the phase {self.phase} began"
        seen = Evidence(filled.t, f"{filled.flags} flags of {filled.size} bytes are there")
        return _Cause(f"the phase {self.phase}", start, filled.t, None, (seen,)), ""

    def _raised(self, history: History, cause: _Cause, said: list[Recommendation]) -> Result:
        deadline = cause.crossed + to_ns(self.within)
        result = Result(
            subject=f"{self._what} after {cause.text}",
            claim=f"it is recommended within {self.within:g} s of the crossing, and not before",
            bound=float(self.within),
            error=ERROR,
            unit="s",
            evidence=[*map(_evidence, said), *cause.evidence],
            doubts=run_doubts(history) + fault_doubts(history, deadline),
        )
        raised = [one for one in said if one.state == RAISED]
        early = [one for one in raised if one.t < cause.onset]
        result.doubts += self._unseen(history, cause, deadline)
        if early:
            result.verdict = Verdict.FAIL
            result.reason = f"recommended at {clock(early[0].t)}, before anything crossed it"
            result.doubts += self._noise(history, early[0])
            return result
        if not raised:
            result.doubts += _watch_doubts(history, deadline)
            result.verdict, result.reason = Verdict.FAIL, "it was not recommended"
            return result
        first = raised[0]
        result.value = max(0.0, to_s(first.t - cause.crossed))
        result.figures = {"value": first.value, "threshold": first.threshold}
        result.doubts += _watch_doubts(history, first.t)
        if first.threshold != self.threshold or first.value <= self.threshold:
            result.verdict = Verdict.FAIL
            result.reason = (
                f"recommended for {first.value:g} > {first.threshold:g}, not > {self.threshold:g}"
            )
        return result

    def _withdrawn(self, history: History, cause: _Cause, said: list[Recommendation]) -> Result:
        assert self.withdrawn is not None
        result = Result(
            subject=f"{self._what} once {cause.text} is over",
            claim=f"it is withdrawn within {self.withdrawn:g} s of that, and not sooner",
            bound=float(self.withdrawn),
            error=ERROR,
            unit="s",
            evidence=[*map(_evidence, said), *cause.evidence],
            doubts=run_doubts(history),
        )
        if cause.over is None:
            result.doubts.append(f"{cause.text} was never over")
            return result
        deadline = cause.over + to_ns(self.withdrawn)
        result.doubts += fault_doubts(history, deadline)
        if not any(one.state == RAISED and one.t < cause.over for one in said):
            result.doubts.append("it was not recommended before")
            return result
        gone = next((one for one in said if one.state == WITHDRAWN), None)
        if gone is None:
            result.doubts += _watch_doubts(history, deadline)
            result.verdict, result.reason = Verdict.FAIL, "it was never withdrawn"
        elif gone.t < cause.over:
            result.verdict = Verdict.FAIL
            result.reason = f"withdrawn at {clock(gone.t)}, while it was still crossed"
        else:
            result.value = to_s(gone.t - cause.over)
        return result

    def _never(self, history: History, said: list[Recommendation]) -> Result:
        raised = [one for one in said if one.state == RAISED]
        result = Result(
            subject=self._what,
            claim="it is not recommended where nothing crosses a threshold",
            value=float(len(raised)),
            bound=0.0,
            error=0.0,
            unit="recommendations",
            evidence=[_evidence(one) for one in raised],
            doubts=run_doubts(history) + fault_doubts(history, history.last),
        )
        if raised:
            result.doubts += self._noise(history, raised[0])
        else:
            until = max(0, whole(history).end - TOGETHER)
            result.doubts += _watch_doubts(history, until) + _silence_doubts(history)
        return result

    def _unseen(self, history: History, cause: _Cause, deadline: int) -> list[str]:
        """What the harness itself sees of the processes, where it can: above since the cause, not above before it."""
        shares = self._shares(history, self.node)
        if shares is None:
            return []
        before = max((share for t, share in shares if t < cause.onset), default=None)
        since = max((share for t, share in shares if cause.onset <= t <= deadline), default=None)
        if before is None or since is None:
            return [f"nobody saw the {self.metric} of {self.node} before and after"]
        if before > self.threshold:
            return [f"the {self.metric} of {self.node} was {before:.3g} before already"]
        if since <= self.threshold:
            return [f"the {self.metric} of {self.node} was {since:.3g} at most: it never crossed"]
        return []

    def _shares(self, history: History, node: str) -> list[tuple[int, float]] | None:
        if self.metric == "cpu":
            return cpu_shares(history, node)
        if self.metric == "memory" and self.limit:
            return memory_shares(history, node, self.limit)
        return None

    def _noise(self, history: History, early: Recommendation) -> list[str]:
        """A machine that stood still for as long as the threshold is no platform that cries wolf."""
        if not early.metric.endswith("_ms"):
            return []
        stall = longest_stall(history, Window(0, early.t, ""))
        if to_s(stall) * 1000 < early.threshold / 2:
            return []
        return [f"the machine stood still for {to_s(stall):.3f} s before that"]


def _evidence(one: Recommendation) -> Evidence:
    comparison = f"{one.value:g}, threshold {one.threshold:g}"
    return Evidence(one.t, f"{one.kind} {one.state}: {one.metric} of {one.node} {comparison}")


def _watch_doubts(history: History, end: int) -> list[str]:
    """That nothing came, or nothing sooner, is shown only where somebody read the feed afterwards: it keeps all entries."""
    for probe in _readers(history):
        if probe.end is not None and probe.end.t >= end:
            return []
    return [f"nobody read the recommendations until {clock(end)}"]


def _silence_doubts(history: History) -> list[str]:
    """A feed that does not answer says nothing either."""
    for probe in _readers(history):
        notes = [note.text for note in history.of(Note) if note.source == probe.name]
        if notes and not notes[-1].endswith("answers again"):
            return [f"the recommendations could not be read: {notes[-1]}"]
    return []


def _readers(history: History) -> list[ProbeRun]:
    found = history.probes.values()
    return [one for one in found if one.start and one.start.kind == "recommendations"]
