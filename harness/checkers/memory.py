"""Bounded memory: a node that is given more flags than it may keep doesn't grow by more than it may."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.checkers.base import Checker, Result
from harness.checkers.soundness import fault_doubts, run_doubts
from harness.checkers.usage import filled_between, looks_in, memory_doubts, middle_memory
from harness.verdict import Evidence, Finding

if TYPE_CHECKING:
    from harness.history import Processes
    from harness.history_io import History

MIB = 1 << 20


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
        before, after = (
            looks_in(history, self.node, phase) for phase in (self.baseline, self.phase)
        )
        for phase, looks in ((self.baseline, before), (self.phase, after)):
            result.doubts += self._doubts(phase, looks)
        result.doubts += fault_doubts(history, after[-1].t if after else history.last)
        if before and after:
            self._measure(result, before, after, filled_between(history, before, after) / MIB)
        return [result.finding(self)]

    def _doubts(self, phase: str, looks: list[Processes]) -> list[str]:
        doubts = memory_doubts(looks, self.node, phase)
        if any(not look.pids and not look.error for look in looks):
            doubts.append(f"it had no process in the phase {phase}")
        return doubts

    def _measure(
        self, result: Result, before: list[Processes], after: list[Processes], written: float
    ) -> None:
        (less, less_error), (more, more_error) = middle_memory(before), middle_memory(after)
        result.value = (more - less) / MIB
        result.error = (less_error + more_error) / MIB
        result.figures = {
            "written_mib": written,
            "before_mib": less / MIB,
            "after_mib": more / MIB,
        }
        shown = f"{less / MIB:.1f} MiB, and {more / MIB:.1f} MiB after {written:.1f} MiB of flags"
        result.evidence.append(Evidence(after[-1].t, shown))
        if written < self.times * self.most:
            result.doubts.append(
                f"{written:.1f} MiB of flags were written, which is not {self.times:g} times the bound"
            )
