"""Alerts: the operators are told of a fault, in time, and not before there is one."""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from harness.checkers.base import Checker, Result, clock, fault_text, faults_named, onset_evidence
from harness.checkers.soundness import fault_doubts, run_doubts
from harness.checkers.writes import same_value
from harness.history import Alert as AlertEvent
from harness.units import Seconds, to_ns, to_s
from harness.verdict import Evidence, Verdict

if TYPE_CHECKING:
    from harness.history_io import FaultRun, History
    from harness.verdict import Finding


@dataclass(frozen=True, kw_only=True)
class Alert(Checker):
    """An alert like `alert` (a pattern), from `sender` (a pattern), whose data holds `data`, comes within `within` of the
    fault's onset (or heal); none like it comes between the first phase's
    beginning and the first fault. Needs a probe that watches the alerts.
    """

    alert: str
    within: Seconds
    fault: str = ""
    since: Literal["onset", "heal"] = "onset"
    sender: str = "*"
    data: dict[str, Any] = field(default_factory=dict)

    name: ClassVar[str] = "alert"

    def __call__(self, history: History) -> list[Finding]:
        runs = faults_named(history, self.fault)
        if not runs:
            doubt = f"the history has no fault {self.fault}".rstrip()
            return [Result(subject=self.alert, doubts=[doubt]).finding(self)]
        found = [a for a in history.of(AlertEvent) if self._fits(a)]
        results = [self._arrives(history, run, found) for run in runs]
        # An earlier fault may have brought the like: before the first of all there is no reason for it.
        results.append(self._not_before(faults_named(history, "")[0], found, history))
        for result in results:
            result.doubts += run_doubts(history)
        return [result.finding(self) for result in results]

    def _fits(self, alert: AlertEvent) -> bool:
        return (
            fnmatchcase(alert.name, self.alert)
            and fnmatchcase(alert.sender, self.sender)
            and all(k in alert.data and same_value(alert.data[k], v) for k, v in self.data.items())
        )

    def _arrives(self, history: History, run: FaultRun, found: list[AlertEvent]) -> Result:
        start = run.onset if self.since == "onset" else run.heal
        result = Result(
            subject=f"{self.alert} after {fault_text(run)}",
            claim=f"the alert {self.alert} comes within {self.within:g} s",
            bound=float(self.within),
            error=0.001,
            unit="s",
            evidence=onset_evidence(run),
        )
        if start is None:
            result.doubts.append(f"the fault {fault_text(run)} was never healed")
            return result
        deadline = start + to_ns(self.within)
        first = next((a for a in found if a.t >= start), None)
        result.doubts += fault_doubts(history, deadline)
        if first is not None:
            result.value = to_s(first.t - start)
            text = f"alert {first.name} from {first.sender or 'nobody'}"
            result.evidence.append(Evidence(first.t, text))
            return result
        result.doubts += _watch_doubts(history, start, deadline)
        result.verdict, result.reason = Verdict.FAIL, "no such alert came"
        return result

    def _not_before(self, run: FaultRun, found: list[AlertEvent], history: History) -> Result:
        onset = run.onset or 0
        # A platform that is just starting may have reason for one: what counts begins with the timeline.
        begin = history.phases[0].start if history.phases else 0
        early = [a for a in found if begin <= a.t < onset]
        return Result(
            subject=f"{self.alert} before {fault_text(run)}",
            claim=f"no alert {self.alert} comes before the fault",
            value=float(len(early)),
            bound=0.0,
            error=0.0,
            unit="alerts",
            evidence=[Evidence(a.t, f"alert {a.name} from {a.sender or 'nobody'}") for a in early],
            doubts=[] if early else _watch_doubts(history, onset, onset),
        )


def _watch_doubts(history: History, start: int, end: int) -> list[str]:
    """That nothing came is shown only where somebody watched."""
    watches = [
        p for p in history.probes.values() if p.start is not None and p.start.kind == "alerts"
    ]
    if not watches:
        return ["no probe watched the alerts"]
    for probe in watches:
        if probe.start and probe.end and probe.start.t <= start and probe.end.t >= end:
            return []
    return [f"no probe watched the alerts from {clock(start)} to {clock(end)}"]
