"""A process of a node that died is replaced by the node itself, while the others stay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.checkers.base import Checker, Result, fault_text, faults_named, onset_evidence
from harness.checkers.soundness import fault_doubts, run_doubts
from harness.history import Processes
from harness.units import Seconds, to_ns, to_s
from harness.verdict import Evidence, Finding, Verdict

if TYPE_CHECKING:
    from harness.history_io import FaultRun, History


@dataclass(frozen=True, kw_only=True)
class Replacement(Checker):
    """From the onset of `fault` to the first look at `node` that shows as many processes of each name as before, one of them new.

    That must be within `within`, and no process but those that died may be gone.
    """

    node: str
    fault: str
    within: Seconds

    name: ClassVar[str] = "replacement"

    def __call__(self, history: History) -> list[Finding]:
        runs = faults_named(history, self.fault)
        if not runs:
            doubt = f"the history has no fault {self.fault}"
            return [Result(subject=self.node, doubts=[doubt]).finding(self)]
        return [self._fault(history, run).finding(self) for run in runs]

    def _fault(self, history: History, run: FaultRun) -> Result:
        start, end = run.onset or 0, run.heal or history.last
        result = Result(
            subject=f"{self.node} after {fault_text(run)}",
            claim=f"the process is replaced within {self.within:g} s",
            bound=float(self.within),
            unit="s",
            evidence=onset_evidence(run),
            doubts=[*run_doubts(history), *fault_doubts(history, end)],
        )
        looks = [one for one in history.of(Processes) if one.node == self.node]
        blind = [one for one in looks if one.error]
        if blind:
            result.doubts.append(f"its processes could not be seen: {blind[0].error}")
        before = [one for one in looks if one.t < start]
        during = [one for one in looks if start <= one.t < end]
        if not before or not during:
            result.doubts.append(f"{self.node} was not looked at before and after")
            return result
        self._measure(result, before[-1], during, start)
        return result

    def _measure(
        self, result: Result, before: Processes, during: list[Processes], start: int
    ) -> None:
        was = set(before.pids)
        previous = start
        for look in during:
            new, gone = set(look.pids) - was, was - set(look.pids)
            if new and sorted(look.names) == sorted(before.names):
                result.value, result.error = to_s(look.t - start), to_s(look.t - previous)
                if len(gone) > 1:
                    result.verdict = Verdict.FAIL
                    result.reason = (
                        f"{len(gone)} of {len(was)} processes are others, and one had died"
                    )
                names = [n for pid, n in zip(look.pids, look.names, strict=True) if pid in new]
                result.evidence.append(
                    Evidence(look.t, f"new: {', '.join(names)}; {len(gone)} of {len(was)} gone")
                )
                return
            previous = look.t
        last = during[-1]
        result.verdict = Verdict.UNKNOWN
        if set(last.pids) >= was:
            result.reason = "none of its processes was seen to be gone"
            return
        if last.t - start > to_ns(self.within):
            result.verdict = Verdict.FAIL
        left = f"{len(last.pids)} of {len(was)} processes"
        result.reason = f"no other took its place; {left} at {to_s(last.t):.3f} s"
