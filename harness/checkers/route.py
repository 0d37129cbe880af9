"""A route: all that clients of one place send in a phase goes where it should."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.checkers.base import Checker, Result, windows
from harness.checkers.soundness import fault_doubts, longest_stall, probe_doubts, run_doubts
from harness.history import Resolved
from harness.history_io import Window
from harness.units import Seconds, to_ns, to_s
from harness.verdict import Evidence, Finding

if TYPE_CHECKING:
    from harness.history_io import History

BEFORE_S = 5.0  # so long what a health check saw may have its effect


@dataclass(frozen=True, kw_only=True)
class Route(Checker):
    """In `phase`, from `settle` s after its start, the name that `probe` follows leads to nodes of `to` alone, and what it is
    answered comes from nodes of `answered_by` alone (none named: answers are not looked at).

    Where a machine stands still for `patience` s, at most 5 s before or in that time, a health check can rightly take it for a
    loss: then what went elsewhere shows nothing.
    An answer that names no node is counted as another's. `at_least` so many requests must have been answered, or acknowledged.
    With `stale`, what was known must have been used beyond its TTL in that time, as no server answered; else nothing is shown.
    """

    probe: str
    phase: str
    to: tuple[str, ...]
    answered_by: tuple[str, ...] = ()
    settle: Seconds = Seconds(0.0)
    at_least: int = 5
    patience: Seconds = Seconds(0.25)
    stale: bool = False

    name: ClassVar[str] = "route"

    def __post_init__(self) -> None:
        if not self.to:
            raise ValueError("to must name at least one node")

    def __call__(self, history: History) -> list[Finding]:
        spans = windows(history, self.phase)
        results = [self._span(history, span) for span in spans] or [
            Result(subject=self.probe, doubts=[f"the history has no phase {self.phase}"])
        ]
        return [result.finding(self) for result in results]

    def _span(self, history: History, span: Window) -> Result:
        window = Window(min(span.end, span.start + to_ns(self.settle)), span.end, span.name)
        result = Result(
            subject=f"{self.probe} in {span.name}",
            claim=f"all goes to {' or '.join(self.to)}",
            bound=0.0,
            unit="requests or lookups elsewhere",
            doubts=[
                *run_doubts(history),
                *fault_doubts(history, window.end),
                *probe_doubts(history, self.probe, window, timely=False),
            ],
        )
        led, lookups = self._lookups(history, window)
        answered, answers = self._answers(history, window)
        result.evidence = [*led, *answered]
        result.value = float(len(led) + len(answered))
        watched = Window(window.start - to_ns(BEFORE_S), window.end)
        still = longest_stall(history, watched) if result.value else 0
        if still >= to_ns(self.patience):
            result.doubts.append(f"the machine stood still for {to_s(still):.3g} s")
        result.figures = {"lookups": float(lookups), "answers": float(answers)}
        if not lookups:
            result.doubts.append(f"{self.probe} looked nothing up")
        if self.stale and not self._went_on(history, window):
            result.doubts.append(f"{self.probe} used nothing beyond its TTL")
        if answers < max(1, self.at_least):
            result.doubts.append(f"{self.probe} was answered {answers} times")
        return result

    def _lookups(self, history: History, window: Window) -> tuple[list[Evidence], int]:
        """What was known when the window began, and all that was learnt in it; an address that is none leads nowhere."""
        known = [e for e in history.of(Resolved) if e.probe == self.probe and e.t < window.end]
        inside = [e for e in known if e.t >= window.start]
        used = [*[e for e in known if e.t < window.start][-1:], *inside]
        astray = [e for e in used if not e.nodes or any(node not in self.to for node in e.nodes)]
        return [
            Evidence(e.t, f"{self.probe} is led to {', '.join(e.nodes) or 'nowhere'} {e.error}")
            for e in astray
        ], len(used)

    def _went_on(self, history: History, window: Window) -> bool:
        asked = (e for e in history.of(Resolved) if e.probe == self.probe and e.t in window)
        return any(each.stale for each in asked)

    def _answers(self, history: History, window: Window) -> tuple[list[Evidence], int]:
        run = history.probes.get(self.probe)
        done = [
            r.complete
            for r in (run.requests if run else ())
            if r.invoke.due in window and r.complete is not None and r.complete.outcome == "ok"
        ]
        if not self.answered_by:
            return [], len(done)
        astray = [c for c in done if c.node not in self.answered_by]
        return [Evidence(c.t, f"answered by {c.node or 'nobody'}") for c in astray], len(done)
