"""A geographic hot spot: more workers at once, then part of the users to the next nearest node, by a weight, and all back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import msgspec

from harness.checkers.base import Checker, Result, clock, windows
from harness.checkers.scaling_steps import told_by
from harness.checkers.soundness import fault_doubts, probe_doubts, run_doubts
from harness.history import Status
from harness.history_io import Window
from harness.units import Seconds, to_ns, to_s
from harness.verdict import Evidence, Finding, Verdict

if TYPE_CHECKING:
    from harness.checkers.scaling_steps import Step
    from harness.history import Complete
    from harness.history_io import History

SIGMAS = 4.0  # of a binomial distribution; chance alone is further off once in 16,000 times
SURE = 20  # answers for each worker, after which one that has given none is not there
TELLING = 3.0  # times its own bound that the moved share must be, to show anything


@dataclass(frozen=True, kw_only=True)
class HotSpot(Checker):
    """The load of `probes`, whose nearest node is `node`, is high in the phase `hot`, more in `critical`, low in `cooled`.

    Within `within` of `hot` the node must have `workers` more at once, and all of them must have answered. In `critical`
    the node must have a weight below 1 within that time, as `controller` tells, and its share of the answers must be that
    weight, the rest being given by `to`: judged from `settle` after the weight's last change on. Before `critical`, and
    `within` after `cooled` began, `node` answers all.
    """

    node: str
    controller: str
    to: str
    probes: tuple[str, ...]
    hot: str = "hot"
    critical: str = "critical"
    cooled: str = "cooled"
    workers: int = 5
    within: Seconds = Seconds(5.0)
    settle: Seconds = Seconds(1.0)

    name: ClassVar[str] = "hot_spot"

    def __call__(self, history: History) -> list[Finding]:
        doubts = [*run_doubts(history), *fault_doubts(history, history.last)]
        for probe in self.probes:
            doubts += probe_doubts(history, probe, Window(0, history.last), timely=False)
        named = [windows(history, phase)[:1] for phase in (self.hot, self.critical, self.cooled)]
        if not all(named):
            doubts.append(f"the history has no phase {self.hot}, {self.critical} or {self.cooled}")
            return [Result(subject=self.node, doubts=doubts).finding(self)]
        (hot,), (critical,), (cooled,) = named
        answers = self._answers(history)
        results = [
            self._added(history, hot, answers),
            self._answering(history, hot, answers),
            self._moved(history, critical, answers),
            self._stayed(critical, answers),
            self._returned(cooled, answers),
        ]
        for result in results:
            result.subject = self.node
            result.doubts += doubts
        return [result.finding(self) for result in results]

    def _answers(self, history: History) -> list[tuple[int, Complete]]:
        """When each was asked for, and the answer; in order."""
        requests = [
            r
            for name in self.probes
            if name in history.probes
            for r in history.probes[name].requests
        ]
        found = [
            (r.invoke.t, r.complete)
            for r in requests
            if r.complete is not None and r.complete.outcome == "ok"
        ]
        return sorted(found, key=lambda each: each[0])

    def _step(self, history: History, hot: Window) -> tuple[Step | None, list[str]]:
        """The first step that was made for a hot spot."""
        steps, problem = told_by(history, self.node)
        if steps is None:
            return None, [problem]
        made = [step for step in steps.made if step.hot and step.t >= hot.start]
        early = [f"{step} came before" for step in steps.made if step.hot and step.t < hot.start]
        return (made[0] if made else None), early

    def _added(self, history: History, hot: Window, answers: list[tuple[int, Complete]]) -> Result:
        step, doubts = self._step(history, hot)
        result = Result(
            claim=f"the hot node gets {self.workers} workers more at once, within {self.within:g} s",
            relation="==",
            bound=float(self.workers),
            error=0.0,
            unit="workers",
            doubts=doubts,
        )
        if not any(t in hot for t, _ in answers):
            result.doubts.append(f"nobody was answered in the phase {self.hot}")
        if step is not None:
            result.evidence.append(step.evidence)
        deadline = hot.start + to_ns(self.within)
        if step is None or step.t > deadline:
            result.value = 0.0
            result.reason = f"none were added by {clock(deadline)}"
            result.verdict = Verdict.FAIL if history.last >= deadline else Verdict.UNKNOWN
        else:
            result.value = float(step.after - step.before)
        return result

    def _answering(
        self, history: History, hot: Window, answers: list[tuple[int, Complete]]
    ) -> Result:
        step, doubts = self._step(history, hot)
        result = Result(
            claim="each worker that was added answers", unit="workers", error=0.0, doubts=doubts
        )
        if step is None:
            result.doubts.append("no workers were added for a hot spot")
            return result
        given = [
            done.metadata.get("worker")
            for t, done in answers
            if t >= step.t and done.node == self.node
        ]
        added = range(step.before, step.after)
        result.value, result.relation = float(len(set(added) & set(given))), "=="
        result.bound = float(len(added))
        if result.value < result.bound and len(given) < SURE * step.after:
            result.doubts.append(f"{len(given)} answers are too few to have one of each worker")
        return result

    def _moved(
        self, history: History, critical: Window, answers: list[tuple[int, Complete]]
    ) -> Result:
        result = Result(
            claim=f"the node keeps the share of its weight, the rest goes to {self.to}",
            unit="share",
            error=0.0,
        )
        told = self._weights(history, critical)
        if not told:
            result.doubts.append(f"{self.controller} told no weight in the phase {self.critical}")
            return result
        lowered = [each for each in told if each.weight < 1]
        deadline = critical.start + to_ns(self.within)
        if not lowered or lowered[0].start > deadline:
            result.verdict = Verdict.FAIL if critical.end > deadline else Verdict.UNKNOWN
            result.reason = f"its weight was not lowered by {clock(deadline)}"
            return result
        longest = max(lowered, key=lambda each: each.end - each.start)
        weight, since = longest.weight, longest.start
        start = since + to_ns(self.settle)
        inside = [done.node for t, done in answers if start <= t < longest.end]
        if not inside:
            result.doubts.append("nobody was answered while its weight was lower")
            return result
        kept, moved = inside.count(self.node), inside.count(self.to)
        count = len(inside)
        result.bound = SIGMAS * math.sqrt(weight * (1 - weight) / count) + 1 / count
        result.value = abs(kept / count - weight)
        result.figures = {"weight": weight, "kept": kept / count, "answers": float(count)}
        result.evidence.append(
            Evidence(
                since,
                f"weight {weight:g}; of {count} answers {kept} by {self.node}, {moved} by {self.to}",
            )
        )
        if kept + moved < count:
            result.verdict = Verdict.FAIL
            result.reason = f"{count - kept - moved} of {count} answers came from elsewhere"
        elif 1 - weight < TELLING * result.bound:
            result.doubts.append(
                f"with {count} answers a share of {1 - weight:.2f} can't be told from none"
            )
        return result

    def _weights(self, history: History, span: Window) -> list[_Weight]:
        """The node's weights as they were told in a span."""
        told: list[_Weight] = []
        for status in history.of(Status):
            if status.node != self.controller or status.t not in span:
                continue
            try:
                weight = msgspec.convert(status.data.get("pops"), dict[str, _Pop])[self.node].weight
            except (msgspec.ValidationError, KeyError):
                continue
            if told and told[-1].weight == weight:
                continue
            if told:
                told[-1].end = status.t
            told.append(_Weight(weight, status.t, span.end))
        return told

    def _stayed(self, critical: Window, answers: list[tuple[int, Complete]]) -> Result:
        before = [done for t, done in answers if t < critical.start]
        away = [done for done in before if done.node != self.node]
        result = Result(
            claim="before its load is critical nobody is sent elsewhere",
            value=float(len(away)),
            bound=0.0,
            error=0.0,
            unit="answers",
            evidence=[Evidence(done.t, f"{done.node} answered") for done in away],
        )
        if not before:
            result.doubts.append("nobody was answered before")
        return result

    def _returned(self, cooled: Window, answers: list[tuple[int, Complete]]) -> Result:
        later = [(t, done) for t, done in answers if t >= cooled.start]
        away = [t for t, done in later if done.node != self.node]
        result = Result(
            claim=f"all are back within {self.within:g} s of the load's fall",
            value=to_s(max(away) - cooled.start) if away else 0.0,
            bound=float(self.within),
            error=0.0,
            unit="s",
        )
        if not any(t > cooled.start + to_ns(self.within) for t, _ in later):
            result.doubts.append(f"nobody was answered later than {self.within:g} s after that")
        return result


class _Pop(msgspec.Struct):
    weight: float


@dataclass(slots=True)
class _Weight:
    """A weight, and from when to when it was told."""

    weight: float
    start: int
    end: int
