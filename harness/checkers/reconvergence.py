"""Reconvergence: how long until requests that a lost node used to answer are answered by another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harness.checkers.base import (
    Checker,
    Result,
    clock,
    fault_text,
    faults_named,
    onset_evidence,
)
from harness.checkers.recovery import answers_in, fault_window, sampling
from harness.checkers.soundness import fault_doubts, probe_doubts, run_doubts, worst_lateness
from harness.history_io import FaultRun, History, Window
from harness.units import Seconds, to_s
from harness.verdict import Evidence, Finding, Verdict


@dataclass(frozen=True, kw_only=True)
class Reconvergence(Checker):
    """From the onset of `fault` to the first answer of `probe` by a node not in `nodes`, after which none of those answers.

    `nodes` empty: what the fault hits. The probe must have been answered by one of them before.
    """

    probe: str
    within: Seconds
    fault: str = ""
    nodes: tuple[str, ...] = ()

    name: ClassVar[str] = "reconvergence"

    def __call__(self, history: History) -> list[Finding]:
        runs = faults_named(history, self.fault)
        if not runs:
            doubt = f"the history has no fault {self.fault}".rstrip()
            return [Result(doubts=[doubt], unit="s").finding(self)]
        return [self._fault(history, run).finding(self) for run in runs]

    def _fault(self, history: History, run: FaultRun) -> Result:
        window = fault_window(history, run)
        assert window is not None  # it begins at the onset, which `faults_named` made sure of
        lost = set(self.nodes or run.targets)
        answers = answers_in(history, self.probe, window)
        result = Result(
            subject=f"{self.probe} after {fault_text(run)}",
            claim=f"traffic moves to another node within {self.within * 1000:g} ms",
            bound=float(self.within),
            unit="s",
            evidence=onset_evidence(run),
        )
        result.doubts = [
            *run_doubts(history),
            *fault_doubts(history, window.end),
            *probe_doubts(history, self.probe, window),
        ]
        before = answers_in(history, self.probe, Window(0, window.start))
        served = [
            r for r in before if r.complete and r.complete.node and r.complete.t <= window.start
        ]
        if not served or served[-1].complete is None or served[-1].complete.node not in lost:
            result.doubts.append(
                f"the last answer before the fault did not come from {', '.join(sorted(lost))}"
            )
        moved: int | None = None
        for request in answers:
            done = request.complete
            if done is None or not done.node:
                continue
            if done.node in lost:
                moved = None
            elif moved is None and done.outcome == "ok":
                moved = done.t
                result.evidence.append(Evidence(moved, f"answered by {done.node}"))
        near = [r for r in answers if moved is None or r.invoke.due <= moved]
        result.error = to_s(sampling(history, self.probe) + worst_lateness(near))
        result.figures = {"answers": float(len(answers))}
        if moved is not None:
            result.value = to_s(moved - window.start)
            return result
        result.value = to_s(window.end - window.start)
        result.reason = f"no other node had taken over when the fault ended at {clock(window.end)}"
        beyond = result.value - result.error > float(self.within)
        result.verdict = Verdict.FAIL if beyond else Verdict.UNKNOWN
        return result
