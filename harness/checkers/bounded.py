"""What a node tells of itself stays bounded, although more was put into it than the bound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.checkers.base import Checker, Result, clock, windows
from harness.checkers.soundness import fault_doubts, run_doubts
from harness.checkers.status_field import field_of
from harness.checkers.writes import writes_of
from harness.history import Status
from harness.units import Seconds, to_ns
from harness.verdict import Evidence

if TYPE_CHECKING:
    from harness.history_io import History
    from harness.verdict import Finding


@dataclass(frozen=True, kw_only=True)
class Bounded(Checker):
    """`field` (a dotted path) of the status of `node` is at most `at_most` in `phase`, but for its first `margin`.

    It says something only where more than that was put in: that many writes of `writes` must have been acknowledged before.
    """

    node: str
    field: str
    at_most: float
    writes: tuple[str, ...]
    phase: str = ""
    margin: Seconds = Seconds(0.0)

    name: ClassVar[str] = "bounded"

    def __call__(self, history: History) -> list[Finding]:
        spans = windows(history, self.phase)
        margin = to_ns(self.margin)
        seen = [
            (float(value), s)
            for s in history.of(Status)
            if s.node == self.node
            and s.ok
            and any(span.start + margin <= s.t < span.end for span in spans)
            and isinstance(value := field_of(s, self.field), int | float)
        ]
        end = max((span.end for span in spans), default=0)
        start = min((span.start + margin for span in spans), default=0)
        put_in = sum(w.acknowledged and w.done < start for w in writes_of(history, self.writes))
        result = Result(
            subject=f"{self.node} {self.field}" + (f" in {self.phase}" if self.phase else ""),
            claim=f"{self.field} is at most {self.at_most:g}",
            bound=self.at_most,
            error=0.0,
            unit=self.field,
            figures={"statuses": float(len(seen)), "put in": float(put_in)},
            doubts=[*run_doubts(history), *fault_doubts(history, end)],
        )
        if not spans:
            result.doubts.append(f"the history has no phase {self.phase}")
        if not seen:
            result.doubts.append(f"{self.node} told no number {self.field}")
            return [result.finding(self)]
        if put_in <= self.at_most:
            result.doubts.append(f"only {put_in} writes were acknowledged before")
        result.value, at = max(seen, key=lambda pair: pair[0])
        result.evidence.append(
            Evidence(at.t, f"{self.node}: {self.field} is {result.value:g} at {clock(at.t)}")
        )
        return [result.finding(self)]
