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
    quantile,
    spread_figures,
)
from harness.checkers.recovery import answers_in, fault_window, sampling
from harness.checkers.soundness import (
    fault_doubts,
    probe_doubts,
    run_doubts,
    stalled,
    worst_lateness,
)
from harness.history_io import FaultRun, History, Window
from harness.units import Seconds, to_s
from harness.verdict import Evidence, Finding, Verdict


@dataclass(frozen=True, kw_only=True)
class Reconvergence(Checker):
    """From the onset of `fault` to the first answer of `probe` by a node not in `nodes`, after which none of those answers.

    `nodes` empty: what the fault hits. The probe must have been answered by one of them before. `at_least` so many
    failures: one more finding says how they spread.
    """

    probe: str
    within: Seconds
    fault: str = ""
    nodes: tuple[str, ...] = ()
    at_least: int = 0

    name: ClassVar[str] = "reconvergence"

    def __call__(self, history: History) -> list[Finding]:
        runs = faults_named(history, self.fault)
        if not runs:
            doubt = f"the history has no fault {self.fault}".rstrip()
            return [Result(doubts=[doubt], unit="s").finding(self)]
        results = [self._fault(history, run) for run in runs]
        if self.at_least:
            results.append(self._spread(results))
        return [result.finding(self) for result in results]

    def _spread(self, results: list[Result]) -> Result:
        """Over all failures: the worst is judged, the others are in the figures."""
        values = [result.value for result in results if result.value is not None]
        spread = Result(
            subject=f"{self.probe} after {len(results)} failures",
            claim=f"in each of at least {self.at_least} failures within {self.within * 1000:g} ms",
            value=max(values, default=None),
            bound=float(self.within),
            error=max((result.error or 0.0 for result in results), default=0.0),
            unit="s",
            figures=spread_figures(values),
            stalled=max((result.stalled for result in results), default=0.0),
        )
        if values:
            spread.figures |= {"min": min(values), "p90": quantile(values, 0.9)}
        if len(values) < self.at_least:
            spread.doubts.append(f"{len(values)} failures were measured")
        spread.doubts += [doubt for result in results for doubt in result.doubts]
        return spread

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
            result.stalled = to_s(stalled(history, Window(window.start, moved)))
            return result
        result.value = to_s(window.end - window.start)
        result.reason = f"no other node had taken over when the fault ended at {clock(window.end)}"
        beyond = result.value - result.error > float(self.within)
        result.verdict = Verdict.FAIL if beyond else Verdict.UNKNOWN
        return result
