"""One copy in memory: what the processes of a node together need more when flags are loaded is no multiple of the flags."""

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
LEAST = 0.5  # copies: with less growth than that the flags are not there, wherever they are
LEAST_LOOKS = 3


@dataclass(frozen=True, kw_only=True)
class SharedMemory(Checker):
    """The memory of all processes of `node` together (PSS) in `phase`, less that in `baseline`, over the bytes written between.

    `copies` bounds it; `processes` is how many there must be, so that they could have a copy each.
    """

    node: str
    baseline: str
    phase: str
    copies: float = 2.0
    processes: int = 2

    name: ClassVar[str] = "shared_memory"

    def __call__(self, history: History) -> list[Finding]:
        result = Result(
            subject=self.node,
            claim=f"the flags are in memory at most {self.copies:g} times, not once for each worker",
            bound=self.copies,
            unit="copies",
            doubts=run_doubts(history),
        )
        before, after = self._looks(history, self.baseline), self._looks(history, self.phase)
        for phase, looks in ((self.baseline, before), (self.phase, after)):
            result.doubts += self._doubts(phase, looks)
        result.doubts += fault_doubts(history, after[-1].t if after else history.last)
        if before and after:
            filled = [f for f in history.of(Filled) if before[-1].t < f.t < after[0].t]
            self._measure(result, before, after, sum(f.size for f in filled))
        return [result.finding(self)]

    def _looks(self, history: History, phase: str) -> list[Processes]:
        """Those in the phase; windows of a phase that is not there are none."""
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
        few = min((len(look.pids) for look in looks), default=0)
        if looks and few < self.processes:
            doubts.append(f"{few} processes in the phase {phase}, {self.processes} are needed")
        return doubts

    def _measure(
        self, result: Result, before: list[Processes], after: list[Processes], size: int
    ) -> None:
        if not size:
            result.doubts.append("no flags were loaded between the two phases")
            return
        less, more = _totals(before), _totals(after)
        growth = statistics.median(more) - statistics.median(less)
        result.value = growth / size
        result.error = (_spread(less) + _spread(more)) / size
        result.figures = {
            "flags_mib": size / MIB,
            "before_mib": statistics.median(less) / MIB,
            "after_mib": statistics.median(more) / MIB,
            "processes": float(len(after[0].pids)),
        }
        told = zip(after[-1].names, after[-1].memory, strict=True)
        shares = ", ".join(f"{name} {memory / MIB:.1f} MiB" for name, memory in told)
        result.evidence.append(Evidence(after[-1].t, shares))
        if result.value < LEAST:
            result.doubts.append(
                f"{self.node} grew by {growth / MIB:.1f} MiB only: the flags are not in its memory"
            )


def _totals(looks: list[Processes]) -> list[int]:
    return [sum(look.memory) for look in looks]


def _spread(totals: list[int]) -> float:
    """How far single looks lie from the middle one."""
    return max(abs(total - statistics.median(totals)) for total in totals)
