"""Sent = received: what a load's locust was answered is what the platform's nodes counted, to the request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.checkers.base import Checker, Result, whole
from harness.checkers.soundness import fault_doubts, probe_doubts, run_doubts
from harness.history import LoadEnd, Status
from harness.target import pointer
from harness.verdict import Evidence, Finding, Verdict

if TYPE_CHECKING:
    from harness.history import Attempt
    from harness.history_io import History

OWN = ("version",)  # fields that a status has outside its data
Looks = list[Status]  # one of each node


@dataclass(frozen=True, kw_only=True)
class LoadTotals(Checker):
    """The growth of `field` (its status' data, by a dotted path; or `version`) of all `nodes` together over the whole of `load`, less
    what `probes` asked them meanwhile, is what `load` was answered (`endpoint`: only of that kind).

    Needs a status probe on the nodes from before the load's first request to after its last. A request without an answer may
    have been counted or not, and so may one of `probes` that was under way when a status was asked for: then only what
    is beyond all of those is wrong, and the rest unknown.
    """

    load: str
    nodes: tuple[str, ...]
    field: str = "counters.evaluations"
    endpoint: str = ""
    probes: tuple[str, ...] = ()

    name: ClassVar[str] = "load_totals"

    def __call__(self, history: History) -> list[Finding]:
        result = Result(
            subject=self.load,
            claim=f"what locust was answered is what {', '.join(self.nodes)} counted, to the request",
            relation="==",
            bound=0.0,
            error=0.0,
            unit="requests",
            doubts=run_doubts(history),
        )
        for name in self.probes:
            result.doubts += probe_doubts(history, name, whole(history), timely=False)
        end = next((e for e in history.of(LoadEnd) if e.probe == self.load), None)
        if end is None:
            result.doubts.append(f"the load {self.load} never said that it was done")
        else:
            result.doubts += [end.error] if end.error else []
            result.doubts += fault_doubts(history, end.t)
            self._measure(result, history, end)
        return [result.finding(self)]

    def _measure(self, result: Result, history: History, end: LoadEnd) -> None:
        totals = [t for t in end.totals if self.endpoint in ("", t.name)]
        silent = sum(t.unanswered for t in totals)
        answered = sum(t.requests for t in totals) - silent
        attempts = self._attempts(history)
        before = self._looks(history, attempts, until=end.start)
        after = self._looks(history, attempts, since=end.t)
        if not before or not after:
            when = "after its end" if before else "before its begin"
            result.doubts.append(f"no status of all of {', '.join(self.nodes)} {when}")
            return
        for a, b in zip(before, after, strict=True):
            if a.boot != b.boot:
                result.doubts.append(f"{a.node} was started anew meanwhile: its count began again")
        counted = self._count(after) - self._count(before)
        others, unsure = _between(attempts, before, after)
        result.value = float(counted - others - answered)
        result.figures = {
            "locust_answered": float(answered),
            "locust_unanswered": float(silent),
            "nodes_counted": float(counted),
            "other_probes": float(others),
            "not_sure": float(unsure + silent),
        }
        result.evidence = [
            Evidence(before[0].t, f"{self.field} was {self._count(before)}"),
            Evidence(end.t, f"locust was answered {answered} times, and {silent} times not"),
            Evidence(after[0].t, f"{self.field} was {self._count(after)}"),
        ]
        self._judge(result, answered, unsure + silent)

    def _judge(self, result: Result, answered: int, unsure: int) -> None:
        value = result.value or 0.0
        if not answered:
            result.doubts.append(f"the load {self.load} was never answered")
        elif not 0 <= value <= unsure:
            seen = f"{abs(value):g} requests {'more' if value > 0 else 'fewer'} were counted than locust was answered"
            result.verdict, result.reason = Verdict.FAIL, seen
        elif unsure:
            result.doubts.append(f"of {unsure} requests nobody knows whether they were counted")

    def _attempts(self, history: History) -> list[Attempt]:
        """All that the other probes sent, with its times; what has no end is under way for ever."""
        runs = [history.probes[name] for name in self.probes if name in history.probes]
        done = [r.complete for run in runs for r in run.requests]
        return [attempt for c in done if c is not None for attempt in c.attempts]

    def _looks(
        self,
        history: History,
        attempts: list[Attempt],
        since: int | None = None,
        until: int | None = None,
    ) -> Looks:
        """One status of each node outside of the load, as near to it as may be, at a moment when no other probe asked anything."""
        mine = [
            [
                s
                for s in history.of(Status)
                if s.node == node
                and s.ok
                and s.asked >= (since or 0)
                and (until is None or s.t <= until)
                and isinstance(self._field(s), int)
            ]
            for node in self.nodes
        ]
        rounds = [
            list(one)
            for one in zip(
                *(looks if until is None else looks[::-1] for looks in mine), strict=False
            )
        ]
        if not rounds:
            return []
        return min(rounds, key=lambda looks: len(_under_way(attempts, looks)))

    def _field(self, status: Status) -> object:
        return (
            getattr(status, self.field) if self.field in OWN else pointer(self.field)(status.data)
        )

    def _count(self, looks: Looks) -> int:
        found = (self._field(status) for status in looks)
        return sum(value for value in found if isinstance(value, int))


def _under_way(attempts: list[Attempt], looks: Looks) -> list[Attempt]:
    """Those that may have been counted before or after these looks."""
    first, last = min(s.asked for s in looks), max(s.t for s in looks)
    return [a for a in attempts if a.start <= last and a.end >= first]


def _between(attempts: list[Attempt], before: Looks, after: Looks) -> tuple[int, int]:
    """How many were certainly counted between the looks, and of how many nobody knows."""
    begin, end = max(s.t for s in before), min(s.asked for s in after)
    inside = [a for a in attempts if a.start > begin and a.end < end]
    lost = sum(bool(a.error) and not a.error.startswith("HTTP_") for a in inside)
    edge = len(_under_way(attempts, before)) + len(_under_way(attempts, after))
    return len(inside) - lost, lost + edge
