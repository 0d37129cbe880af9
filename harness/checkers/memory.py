"""Bounded memory: a node that is given more flags than it may keep doesn't grow by more than it may."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.checkers.base import Checker, Result, windows
from harness.checkers.soundness import fault_doubts, run_doubts
from harness.history import Filled, Processes
from harness.verdict import Evidence, Finding

if TYPE_CHECKING:
    from harness.history_io import History

MIB = 1 << 20
LEAST_LOOKS = 3


@dataclass(frozen=True, kw_only=True)
class Memory(Checker):
    """The memory of all processes of `node` together (PSS) in `phase`, less that in `baseline`: its median is at most `most` MiB.

    It shows something only where the definitions that were written in between are at least `times` as much.
    """

    node: str
    baseline: str
    phase: str
    most: float
    times: float = 2.0

    name: ClassVar[str] = "memory"

    def __post_init__(self) -> None:
        if self.most <= 0 or self.times <= 1:
            raise ValueError("most must be more than 0 MiB, and times more than 1")

    def __call__(self, history: History) -> list[Finding]:
        result = Result(
            subject=self.node,
            claim=f"its memory grows by at most {self.most:g} MiB, however many flags there are",
            bound=self.most,
            unit="MiB",
            doubts=run_doubts(history),
        )
        before, after = self._looks(history, self.baseline), self._looks(history, self.phase)
        for phase, looks in ((self.baseline, before), (self.phase, after)):
            result.doubts += self._doubts(phase, looks)
        result.doubts += fault_doubts(history, after[-1].t if after else history.last)
        if before and after:
            filled = [f for f in history.of(Filled) if before[-1].t < f.t < after[0].t]
            self._measure(result, before, after, sum(f.size for f in filled) / MIB)
        return [result.finding(self)]

    def _looks(self, history: History, phase: str) -> list[Processes]:
        spans = windows(history, phase)
        return [
            look
            for look in history.of(Processes)
            if look.node == self.node and any(look.t in span for span in spans)
        ]

    def _doubts(self, phase: str, looks: list[Processes]) -> list[str]:
        doubts = []
        if len(looks) < LEAST_LOOKS:
            doubts.append(f"{self.node} was looked at {len(looks)} times in the phase {phase}")
        errors = [look.error for look in looks if look.error]
        if errors:
            doubts.append(f"its processes could not be seen: {errors[0]}")
        elif any(size < 0 for look in looks for size in look.memory):
            doubts.append("the memory of its processes could not be read")
        elif any(not look.pids for look in looks):
            doubts.append(f"it had no process in the phase {phase}")
        return doubts

    def _measure(
        self, result: Result, before: list[Processes], after: list[Processes], written: float
    ) -> None:
        less, more = _totals(before), _totals(after)
        result.value = statistics.median(more) - statistics.median(less)
        result.error = _spread(less) + _spread(more)
        result.figures = {
            "written_mib": written,
            "before_mib": statistics.median(less),
            "after_mib": statistics.median(more),
        }
        shown = f"{statistics.median(less):.1f} MiB, and {statistics.median(more):.1f} MiB after {written:.1f} MiB of flags"
        result.evidence.append(Evidence(after[-1].t, shown))
        if written < self.times * self.most:
            result.doubts.append(
                f"{written:.1f} MiB of flags were written, which is not {self.times:g} times the bound"
            )


def _totals(looks: list[Processes]) -> list[float]:
    """In MiB."""
    return [sum(look.memory) / MIB for look in looks]


def _spread(totals: list[float]) -> float:
    """How far single looks lie from the middle one."""
    return max(abs(total - statistics.median(totals)) for total in totals)
