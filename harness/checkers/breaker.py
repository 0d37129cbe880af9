"""Circuit breaker, seen from the wire: opens after its failures, stays silent, tries once, closes after its successes."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from harness.checkers.answers import Expected
from harness.checkers.base import Checker, Result, clock, windows
from harness.checkers.calls import UNCLEAR, Call, calls, exchanges
from harness.checkers.soundness import fault_doubts, probe_doubts, run_doubts
from harness.units import Seconds, to_ns, to_s
from harness.verdict import Evidence, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.history_io import History, Request
    from harness.verdict import Finding

# Demand must be seen in each of so many equal parts of a silence.
PARTS = 5
# A caller learns of a failure a moment after the wire carried it; a call begun within this (s) knew nothing of it.
RACE = 0.005


@dataclass(frozen=True, kw_only=True)
class Breaker(Checker):
    """Judges the calls on `link` (a pattern) under `path`; one path's exchanges within `operation_gap` are one call.

    * threshold: the first silence comes after exactly `threshold` failing calls in a row (calls that began before the
      last of them ended don't count);
    * silence: while open no call for `timeout`, although the probe `demand` asked for what needs one; then one trial,
      alone; a failing trial means as long a silence again;
    * closes: after `successes` successful trials all pass again. Only with `closes`.
    * fallback: what demand is answered while open, as `fallback` says (if given).
    """

    link: str
    demand: str
    path: str = "/"
    phase: str = ""
    threshold: int = 5
    timeout: Seconds = Seconds(30.0)
    successes: int = 3
    closes: bool = True
    fallback: Expected | None = None
    fine: tuple[int, ...] = (404,)  # statuses that are answers, not failures
    error: Seconds = Seconds(0.05)
    operation_gap: Seconds = Seconds(2.0)

    name: ClassVar[str] = "breaker"

    def __call__(self, history: History) -> list[Finding]:
        spans = windows(history, self.phase)
        found = [
            call
            for call in calls(
                exchanges(history, self.link, self.path), to_ns(self.operation_gap), self.fine
            )
            if any(call.start in span for span in spans)
        ]
        run = history.probes.get(self.demand)
        asked = [
            r
            for r in (run.requests if run is not None else ())
            if any(r.invoke.t in span for span in spans)
        ]
        end = max((s.end for s in spans), default=0)
        trace = _Trace(self, found, end)
        results = [self._threshold(trace), self._silence(trace, asked)]
        if self.closes:
            results.append(self._closing(trace, asked))
        if self.fallback is not None:
            results.append(self._fallback(trace, asked, self.fallback))
        doubts = [*run_doubts(history), *fault_doubts(history, end)]
        for span in spans:
            doubts += probe_doubts(history, self.demand, span, timely=False)
        if not spans:
            doubts.append(f"the history has no phase {self.phase}")
        if not found:
            doubts.append(f"no call under {self.path} was seen on {self.link}")
        unclear = sum(call.error == UNCLEAR for call in found)
        for result in results:
            result.subject = self.link
            result.doubts += doubts
            result.figures |= {"calls": float(len(found)), "unclear": float(unclear)}
            result.evidence += trace.events
        return [result.finding(self) for result in results]

    def _threshold(self, trace: _Trace) -> Result:
        result = Result(
            claim=f"opens after {self.threshold} failures",
            relation="==",
            bound=float(self.threshold),
            error=0.0,
            unit="calls",
            figures={"in_flight_when_it_opened": float(trace.in_flight)},
        )
        if trace.opened is None:
            result.value = float(trace.failures)
            if trace.failures < self.threshold:
                result.doubts.append(
                    f"it never opened: only {trace.failures} calls failed in a row"
                )
            return result
        result.value = float(trace.failures)
        return result

    def _silence(self, trace: _Trace, asked: Sequence[Request]) -> Result:
        result = Result(
            claim=f"while open no call for {self.timeout:g} s, then one trial",
            relation=">=",
            bound=float(self.timeout),
            error=float(self.error),
            unit="s",
            figures={
                "silences": float(len(trace.silences)),
                "trials": float(len(trace.trials)),
                "trials_not_alone": float(len(trace.crowded)),
            },
        )
        if not trace.silences:
            result.doubts.append("no silence was seen to its end")
            return result
        lengths = [to_s(b - a) for a, b in trace.silences]
        result.value = min(lengths)
        for n, (a, b) in enumerate(trace.silences, start=1):
            result.figures[f"silence_{n}"] = to_s(b - a)
            demands = self._demand(asked, a, min(b, a + to_ns(self.timeout)))
            result.figures[f"demand_{n}"] = float(sum(demands))
            if min(demands) == 0:
                result.doubts.append(f"from {clock(a)} to {clock(b)} nobody kept asking")
        if trace.crowded:
            result.reason = f"{len(trace.crowded)} calls came beside a trial"
            result.evidence += [
                Evidence(c.start, f"beside a trial: {c.path}") for c in trace.crowded
            ]
            result.verdict = Verdict.FAIL
        return result

    def _demand(self, asked: Sequence[Request], a: int, b: int) -> list[int]:
        """How many requests came in each part of a silence."""
        counts = [0] * PARTS
        for request in asked:
            if a <= request.invoke.t < b:
                counts[(request.invoke.t - a) * PARTS // (b - a)] += 1
        return counts

    def _closing(self, trace: _Trace, asked: Sequence[Request]) -> Result:
        result = Result(
            claim=f"closes after {self.successes} successful trials, then all pass",
            relation="<=",
            bound=0.0,
            error=0.0,
            unit="requests",
        )
        if trace.closed is None:
            result.doubts.append("it was not seen to close")
            return result
        after = [r for r in asked if r.invoke.t > trace.closed + to_ns(self.error)]
        passed = [c for c in trace.found if c.start > trace.closed]
        result.figures = {"asked_after": float(len(after)), "calls_after": float(len(passed))}
        if not after or not passed:
            result.doubts.append("nobody asked after it had closed")
        # Each request that the demand makes needs a call; what had none was still turned away.
        result.value = float(max(0, len(after) - len(passed)))
        return result

    def _fallback(self, trace: _Trace, asked: Sequence[Request], expected: Expected) -> Result:
        slack = to_ns(self.error)
        inside = [
            r
            for r in asked
            if any(a + slack < r.invoke.t < b - slack for a, b in trace.silences)
            and r.complete is not None
            and expected.matches(r.invoke.key)
        ]
        wrong = [
            Evidence(r.complete.t, f"{r.invoke.key}: {text}")
            for r in inside
            if r.complete is not None and (text := expected.wrong(r.complete))
        ]
        result = Result(
            claim="while open, clients get the fallback",
            value=float(len(wrong)),
            bound=0.0,
            error=0.0,
            unit="answers",
            figures={"answers": float(len(inside))},
            evidence=wrong,
        )
        if len(inside) < max(1, expected.at_least):
            result.doubts.append(f"{len(inside)} answers were seen while open")
        return result


@dataclass(slots=True)
class _Trace:
    """The breaker's states, told from its calls alone.

    A silence is a time without a call that is at least half the timeout; it begins when the last failing call before
    it ended. What was called before the first one is the closed state.
    """

    checker: Breaker
    found: list[Call]
    end: int
    failures: int = 0  # in a row, when it opened
    in_flight: int = 0  # failing calls beyond the threshold that had begun before it opened
    opened: int | None = None
    silences: list[tuple[int, int]] = field(default_factory=list)
    trials: list[Call] = field(default_factory=list)
    crowded: list[Call] = field(default_factory=list)
    closed: int | None = None
    events: list[Evidence] = field(default_factory=list)

    def __post_init__(self) -> None:
        groups = self._groups()
        if len(groups) > 1 or self._silent_at_end(groups):
            self._closed_state(groups[0])
        elif groups:
            self.failures = _longest_failing(groups[0])
        for before, group in itertools.pairwise(groups):
            start = max(c.end for c in before)
            self.silences.append((start, group[0].start))
            self.events.append(Evidence(start, "open: silence begins"))
            self._half_open(group)

    def _groups(self) -> list[list[Call]]:
        """Calls with no silence between them."""
        groups: list[list[Call]] = []
        last = 0
        for call in self.found:
            if groups and call.start - last < to_ns(self.checker.timeout) / 2:
                groups[-1].append(call)
            else:
                groups.append([call])
            last = max(last, call.end)
        return groups

    def _silent_at_end(self, groups: list[list[Call]]) -> bool:
        if not groups:
            return False
        return self.end - max(c.end for c in groups[-1]) >= to_ns(self.checker.timeout) / 2

    def _closed_state(self, group: list[Call]) -> None:
        """The failing calls in a row before the first silence, but for those in flight when the threshold was met."""
        run: list[Call] = []
        for call in sorted(group, key=lambda c: c.end):
            run = [*run, call] if call.error else []
        counted = run[: self.checker.threshold]
        if len(counted) == self.checker.threshold:
            self.opened = counted[-1].end
            limit = self.opened + to_ns(RACE)
            extra = [c for c in run[self.checker.threshold :] if c.start <= limit]
            self.in_flight = len(extra)
            self.failures = len(run) - len(extra)
        else:
            self.opened = run[-1].end if run else max(c.end for c in group)
            self.failures = len(run)
        self.events.append(Evidence(self.opened, f"opens after {self.failures} failures in a row"))

    def _half_open(self, group: list[Call]) -> None:
        """The first call after a silence is the trial; while it lasts no other may come, after its failure none."""
        trial = group[0]
        self.trials.append(trial)
        self.events.append(Evidence(trial.start, f"trial: {trial.error or 'success'}"))
        for good, call in enumerate(group, start=1):
            if call is not trial and call.start < trial.end:
                self.crowded.append(call)
            elif call.error:
                self._reopened(call, group)
                return
            if good == self.checker.successes:
                self.closed = call.end
                self.events.append(Evidence(call.end, f"closes after {good} successes"))
                return

    def _reopened(self, failing: Call, group: list[Call]) -> None:
        late = failing.end + to_ns(self.checker.error)
        self.crowded += [c for c in group if c.start > late]


def _longest_failing(group: list[Call]) -> int:
    """The most failing calls in a row."""
    longest = now = 0
    for call in sorted(group, key=lambda c: c.end):
        now = now + 1 if call.error else 0
        longest = max(longest, now)
    return longest
