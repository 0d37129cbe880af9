"""One copy in memory: what the processes of a node together need more when flags are loaded is no multiple of the flags."""

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
LEAST = 0.5  # copies: with less growth than that the flags are not there, wherever they are


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
        before, after = (
            looks_in(history, self.node, phase) for phase in (self.baseline, self.phase)
        )
        for phase, looks in ((self.baseline, before), (self.phase, after)):
            result.doubts += self._doubts(phase, looks)
        result.doubts += fault_doubts(history, after[-1].t if after else history.last)
        if before and after:
            self._measure(result, before, after, filled_between(history, before, after))
        return [result.finding(self)]

    def _doubts(self, phase: str, looks: list[Processes]) -> list[str]:
        doubts = memory_doubts(looks, self.node, phase)
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
        (less, less_error), (more, more_error) = middle_memory(before), middle_memory(after)
        growth = more - less
        result.value = growth / size
        result.error = (less_error + more_error) / size
        result.figures = {
            "flags_mib": size / MIB,
            "before_mib": less / MIB,
            "after_mib": more / MIB,
            "processes": float(len(after[0].pids)),
        }
        told = zip(after[-1].names, after[-1].memory, strict=True)
        shares = ", ".join(f"{name} {memory / MIB:.1f} MiB" for name, memory in told)
        result.evidence.append(Evidence(after[-1].t, shares))
        if result.value < LEAST:
            result.doubts.append(
                f"{self.node} grew by {growth / MIB:.1f} MiB only: the flags are not in its memory"
            )
