"""A node's workers become more and fewer when the load that clients made says so, not else, and never twice in a cooldown."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.checkers.base import Checker, Result, clock
from harness.checkers.scaling_load import GRID, Load
from harness.checkers.scaling_steps import Steps, told_by
from harness.checkers.soundness import fault_doubts, probe_doubts, run_doubts, stalled
from harness.history_io import Window
from harness.units import NS, Seconds, to_ns, to_s
from harness.verdict import Evidence, Finding, Verdict

if TYPE_CHECKING:
    from harness.checkers.scaling_steps import Step
    from harness.history_io import History

SLACK = 3 * NS // 10  # between a request's sending and a decision that rests on it
# Of so many answers for each worker chance alone gives none to one of them once in 10^9 times.
SURE = 20
SLIGHT = 0.05  # by how much of a threshold the client's count and the platform's may differ


@dataclass(frozen=True, kw_only=True)
class Autoscaling(Checker):
    """SCALING_POLICY of the specification, on the requests of `probes` (all that `node` gets) and the steps that it tells.

    `target` in requests/s per worker, taken over `window`; `up` and `down` are shares of it; `minimum` to `maximum`
    workers. A step must come within `within` of when it is due: the load calls for it and no cooldown holds it up. So soon
    must a new worker have answered, and one that is not wanted any more have ceased to.
    """

    node: str
    probes: tuple[str, ...]
    target: float = 50_000.0
    up: float = 0.8
    down: float = 0.3
    cooldown: Seconds = Seconds(60.0)
    window: Seconds = Seconds(10.0)
    within: Seconds = Seconds(2.0)
    minimum: int = 1
    maximum: int = 16

    name: ClassVar[str] = "autoscaling"

    def __call__(self, history: History) -> list[Finding]:
        span = Window(0, history.last)
        doubts = [*run_doubts(history), *fault_doubts(history, history.last)]
        for probe in self.probes:
            doubts += probe_doubts(history, probe, span, timely=False)
        steps, problem = told_by(history, self.node)
        if steps is None:
            return [Result(subject=self.node, doubts=[problem, *doubts]).finding(self)]
        load = Load(history, self.probes, self.node, to_ns(self.window))
        results = [
            self._cooldown(steps),
            self._called_for(history, steps, load),
            self._missed(steps, load),
            self._newcomers(steps, load),
            self._gone(steps, load),
        ]
        for result in results:
            result.subject = self.node
            result.doubts += doubts
            result.evidence += [step.evidence for step in steps.made]
            result.figures |= {"steps": float(len(steps.made)), "requests": float(len(load.sent))}
        return [result.finding(self) for result in results]

    def _cooldown(self, steps: Steps) -> Result:
        gaps = [
            to_s(later.t - earlier.t)
            for earlier, later in itertools.pairwise(steps.made)
            if not later.hot
        ]
        result = Result(
            claim=f"no two steps within a cooldown of {self.cooldown:g} s",
            value=min(gaps, default=None),
            relation=">=",
            bound=float(self.cooldown),
            error=0.001,
            unit="s",
        )
        if not gaps:
            result.doubts.append("there were not two steps, which could have come too soon")
        return result

    def _called_for(self, history: History, steps: Steps, load: Load) -> Result:
        """Each step against the load that clients made just before it, in the platform's favour."""
        made = [step for step in steps.made if not step.hot]
        wrong = [
            step for step in made if not self._fits(step, load.rates(step.t - SLACK, step.t + GRID))
        ]
        excused = [step for step in wrong if self._fits(step, _delayed(history, step, load))]
        result = Result(
            claim="each step is by one worker, and the load calls for it",
            value=float(len(wrong) - len(excused)),
            bound=0.0,
            error=0.0,
            unit="steps",
            evidence=[
                Evidence(
                    step.t, f"{step}: clients made {load.rate(step.t) / step.before:.1f}/s for each"
                )
                for step in wrong
            ],
        )
        if not made:
            result.doubts.append("there was no step")
        if excused and excused == wrong:
            result.doubts.append(
                "the machine stood still, so the platform saw requests later than they were sent"
            )
        return result

    def _fits(self, step: Step, rates: list[float]) -> bool:
        """Whether one of these loads calls for it."""
        if step.after > step.before:
            called = self._up(max(rates) / step.before, -SLIGHT)
        else:
            called = self._down(min(rates) / step.before, -SLIGHT)
        return called and abs(step.after - step.before) == 1

    def _missed(self, steps: Steps, load: Load) -> Result:
        """How long a step was due at most before it came, or before the load was another."""
        due: dict[bool, int] = {}  # up or down, since when
        longest, when, called = 0, 0, set()
        for t in range(steps.watched.start + load.window, steps.watched.end, GRID):
            workers, free = steps.workers(t), steps.last_before(t) + to_ns(self.cooldown) <= t
            each = load.rate(t) / workers
            calls = {
                True: self._up(each, SLIGHT) and workers < self.maximum,
                False: self._down(each, SLIGHT) and workers > self.minimum,
            }
            for more, called_for in calls.items():
                if not (called_for and free):
                    due.pop(more, None)
                    continue
                called.add(more)
                since = due.setdefault(more, t)
                if t - since > longest:
                    longest, when = t - since, since
        result = Result(
            claim=f"a step is made within {self.within:g} s of when it is due",
            value=to_s(longest),
            bound=float(self.within),
            error=to_s(GRID),
            unit="s",
            evidence=[Evidence(when, f"a step was due for {to_s(longest):.1f} s")]
            if longest
            else [],
        )
        called |= {step.after > step.before for step in steps.made}
        if to_s(longest) <= self.within:
            ways = {True: "up", False: "down"}.items()
            result.doubts += [
                f"nothing called for a step {way}" for more, way in ways if more not in called
            ]
        return result

    def _newcomers(self, steps: Steps, load: Load) -> Result:
        """The longest that it took until a worker that was added had answered somebody."""
        result = Result(
            claim=f"a worker that is added answers within {self.within:g} s",
            bound=float(self.within),
            unit="s",
            value=0.0,
            error=0.0,
        )
        added = [(step, worker) for step in steps.made for worker in range(step.before, step.after)]
        if not added:
            result.doubts.append("no worker was added")
        for step, worker in added:
            first = next((t for t, _, who in load.answers if t >= step.t and who == worker), None)
            took = None if first is None else to_s(first - step.t)
            if took is not None and took <= self.within:
                result.value = max(result.value or 0.0, took)
                continue
            until = min(steps.next_after(step.t), step.t + to_ns(self.within))
            others = sum(step.t <= t < until for t, _, _ in load.answers)
            result.verdict = Verdict.FAIL if others >= SURE * step.after else Verdict.UNKNOWN
            result.value = took
            late = f"worker {worker}, wanted from {clock(step.t)} on, did not answer in time"
            result.reason = f"{late}; {others} answers came from others"
            return result
        return result

    def _gone(self, steps: Steps, load: Load) -> Result:
        """Answers of workers that were not wanted any more when they were asked."""
        wrong = [
            Evidence(done, f"worker {who} answered; {steps.workers(sent)} were wanted")
            for done, sent, who in load.answers
            if who >= steps.most(sent - to_ns(self.within), done)
        ]
        result = Result(
            claim=f"a worker that is not wanted any more answers nobody after {self.within:g} s",
            value=float(len(wrong)),
            bound=0.0,
            error=0.0,
            unit="answers",
            evidence=wrong,
        )
        if not load.answers:
            result.doubts.append("no answer says which worker gave it")
        return result

    def _up(self, each: float, by: float) -> bool:
        """Whether a load per worker is above the upper threshold, by a share of it."""
        return each >= self.up * self.target * (1 + by)

    def _down(self, each: float, by: float) -> bool:
        return each <= self.down * self.target * (1 - by)


def _delayed(history: History, step: Step, load: Load) -> list[float]:
    """The most and the least that a platform may have seen in its window, whose requests came as late as the machine stood still."""
    first = step.t - load.window
    late = stalled(history, Window(first - load.window, step.t))
    seconds = to_s(load.window)
    return [load.count(first - late, step.t) / seconds, load.count(first, step.t - late) / seconds]
