"""Exclusiveness: of several nodes at most one acts at a time, as a primary does, and never one that was replaced."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.checkers.base import Checker, Result, clock, whole
from harness.checkers.soundness import fault_doubts, run_doubts
from harness.checkers.status_field import field_of
from harness.history import Status
from harness.units import Seconds, to_ns, to_s
from harness.verdict import Evidence, Verdict

if TYPE_CHECKING:
    from harness.history_io import History
    from harness.verdict import Finding


@dataclass(frozen=True, slots=True)
class _Acting:
    """A node said that it acts, in a term."""

    t: int
    node: str
    term: float

    def __str__(self) -> str:
        return f"{self.node} acts in term {self.term:g}"


@dataclass(frozen=True, kw_only=True)
class Exclusive(Checker):
    """`nodes` tell in their status whether they act (`field` is true) and in which `term` (a number that rises).

    No term may have two nodes; and once one acts in a term, none may act in an earlier one. A status may be as old as
    it takes to ask for it: `slack` s. With `changes` given, at least so many terms beyond the first must have been seen, or
    there was nothing to exclude.
    """

    nodes: tuple[str, ...]
    field: str
    term: str = "epoch"
    slack: Seconds = Seconds(0.6)
    changes: int = 1

    name: ClassVar[str] = "exclusive"

    def __call__(self, history: History) -> list[Finding]:
        acting = [found for status in history.of(Status) if (found := self._acting(status))]
        acting.sort(key=lambda each: each.t)
        terms = sorted({each.term for each in acting})
        result = Result(
            claim="at most one node acts at a time",
            subject=", ".join(self.nodes),
            unit="s",
            error=0.0,
            bound=0.0,
            figures={"statuses": float(len(acting)), "terms": float(len(terms))},
            doubts=[*run_doubts(history), *fault_doubts(history, whole(history).end)],
        )
        result.doubts += self._unseen(history)
        if len(terms) < self.changes + 1:
            result.doubts.append(
                f"nodes acted in {len(terms)} terms: too little changed hands to tell"
            )
        self._judge(result, acting)
        return [result.finding(self)]

    def _acting(self, status: Status) -> _Acting | None:
        term = field_of(status, self.term)
        acts = status.ok and status.node in self.nodes and field_of(status, self.field) is True
        if not acts or isinstance(term, bool) or not isinstance(term, int | float):
            return None
        return _Acting(status.t, status.node, float(term))

    def _unseen(self, history: History) -> list[str]:
        told = {status.node for status in history.of(Status) if status.ok}
        return [f"{node} never told its status" for node in self.nodes if node not in told]

    def _judge(self, result: Result, acting: list[_Acting]) -> None:
        """The value is for how long, s, two were seen to act: from the later one's first word to the earlier one's last."""
        result.value = 0.0
        first: dict[float, _Acting] = {}
        for each in acting:
            holder = first.setdefault(each.term, each)
            if holder.node != each.node:
                self._clash(result, holder, each, "both in one term")
            later = [x for term, x in first.items() if term > each.term]
            successor = min(later, key=lambda x: x.t, default=None)
            if successor is not None and each.t - successor.t > to_ns(self.slack):
                self._clash(result, successor, each, "though it had been replaced")

    def _clash(self, result: Result, holder: _Acting, other: _Acting, how: str) -> None:
        result.value = max(result.value or 0.0, to_s(other.t - holder.t))
        result.verdict = Verdict.FAIL
        if not result.reason:
            result.reason = f"{other} at {clock(other.t)}, {how}: {holder} at {clock(holder.t)}"
            result.evidence = [Evidence(x.t, str(x)) for x in (holder, other)]
