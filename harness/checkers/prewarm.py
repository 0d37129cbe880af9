"""Prewarm: a flag that is hot at one PoP is made ready at all of them, once, and no other flag is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.checkers.base import Checker, Result, clock, windows
from harness.checkers.soundness import fault_doubts, probe_doubts, run_doubts, stream_doubts
from harness.history import Status, Stream
from harness.units import Seconds, to_ns, to_s
from harness.verdict import Evidence, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.history_io import History, Window
    from harness.verdict import Finding


@dataclass(frozen=True, kw_only=True)
class Prewarm(Checker):
    """In `phase` the evaluations of `key` are above `threshold` at `at`, and those of `cold` below it, by their rate of answers.

    Each of `nodes` must say within `within` of the phase's begin, in the field `prewarmed` of its status, that it made ready
    for `key`, and until the end of what was measured that it did so once. Each of `subscribers` sees one such event in all.
    Of `cold` nobody sees or says anything.
    """

    key: str
    cold: str
    at: str
    threshold: float
    nodes: tuple[str, ...]
    subscribers: tuple[str, ...]
    phase: str
    within: Seconds
    org: str = "default"

    name: ClassVar[str] = "prewarm"

    def __call__(self, history: History) -> list[Finding]:
        spans = windows(history, self.phase)
        if len(spans) != 1:
            doubt = f"the history has {len(spans)} phases {self.phase}, not one"
            return [Result(subject=self.key, doubts=[doubt]).finding(self)]
        doubts = [*run_doubts(history), *fault_doubts(history, history.last)]
        doubts += self._demand_doubts(history, spans[0])
        results = [self._ready(history, node, spans[0]) for node in self.nodes]
        results += [self._seen(history, name) for name in self.subscribers]
        if not self.nodes or not self.subscribers:
            doubts.append("no node, or no subscriber, is to be looked at")
        results = results or [Result(subject=self.key)]
        for result in results:
            result.doubts += doubts
        return [result.finding(self) for result in results]

    def _demand_doubts(self, history: History, span: Window) -> list[str]:
        """What the platform was to notice must have been there."""
        doubts = []
        rates = dict.fromkeys((self.key, self.cold), 0.0)
        for name, probe in history.probes.items():
            asked = [
                r
                for r in probe.requests
                if r.invoke.kind == "evaluate" and r.invoke.due in span and r.invoke.key in rates
            ]
            if asked:
                doubts += probe_doubts(history, name, span, timely=False)
            for request in asked:
                done = request.complete
                if done is not None and done.node == self.at and not done.cached:
                    rates[request.invoke.key] += 1 / to_s(span.end - span.start)
        hot, cold = rates[self.key], rates[self.cold]
        if hot <= self.threshold:
            doubts.append(
                f"{self.at} answered {hot:.1f} evaluations/s of {self.key}: it is not hot"
            )
        if not 0 < cold < self.threshold:
            doubts.append(f"{self.at} answered {cold:.1f} evaluations/s of {self.cold}")
        return doubts

    def _ready(self, history: History, node: str, span: Window) -> Result:
        result = Result(
            subject=node,
            claim=f"{self.key} is made ready for within {self.within:g} s, once, and {self.cold} never",
            bound=float(self.within),
            unit="s",
        )
        told = [s for s in history.of(Status) if s.node == node and s.ok]
        result.figures = {"statuses": float(len(told))}
        inside = [s for s in told if s.t >= span.start]
        first = next((s for s in inside if self._count(s, self.key)), None)
        last = told[-1] if told else None
        if last is None or last.t < span.end:
            result.doubts.append(
                f"{node} was not asked for its status until the end of {span.name}"
            )
            return result
        most, cold = self._count(last, self.key), self._count(last, self.cold)
        result.evidence.append(
            Evidence(last.t, f"{node}: {self.key} {most} times, {self.cold} {cold}")
        )
        if first is not None:
            before = [s.t for s in told if s.t < first.t]
            result.value = to_s(first.t - span.start)
            result.error = to_s(first.t - max(before[-1] if before else 0, span.start))
        if first is None and last.t - span.start <= to_ns(self.within):
            result.doubts.append(f"{node} was not asked for long enough")
        elif first is None or most != 1 or cold:
            result.verdict = Verdict.FAIL
            result.reason = f"{node} made ready {most} times for {self.key}, {cold} for {self.cold}"
        return result

    def _count(self, status: Status, key: str) -> int:
        said = status.data.get("prewarmed")
        count = said.get(f"{self.org}/{key}", 0) if isinstance(said, dict) else 0
        return count if isinstance(count, int) else 0

    def _seen(self, history: History, name: str) -> Result:
        seen = [s for s in history.of(Stream) if s.probe == name and s.what == "prewarm"]
        counts: Mapping[str, int] = {
            key: len([s for s in seen if (s.org, s.key) == (self.org, key)])
            for key in (self.key, self.cold)
        }
        lost = [s for s in history.of(Stream) if s.probe == name and s.what == "connect"]
        doubts = stream_doubts(history, name)
        if len(lost) > 1:
            doubts.append(f"{name} was away: it connected again at {clock(lost[1].t)}")
        return Result(
            subject=name,
            claim=f"one prewarm of {self.key} is on the wire, and none of {self.cold}",
            value=float(abs(counts[self.key] - 1) + counts[self.cold]),
            bound=0.0,
            error=0.0,
            unit="events too many or too few",
            figures={f"events {key}": float(count) for key, count in counts.items()},
            evidence=[Evidence(s.t, f"prewarm of {s.org}/{s.key}") for s in seen],
            doubts=doubts,
        )
