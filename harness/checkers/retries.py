"""Retries, counted on the wire: how often, after which errors, after what delay, with what jitter."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar

from harness.checkers.base import Checker, Result, quantile, spread_figures, whole, windows
from harness.checkers.calls import (
    RETRYABLE,
    TIMEOUT,
    UNCLEAR,
    Call,
    calls,
    end_of,
    error_class,
    exchanges,
)
from harness.checkers.soundness import fault_doubts, run_doubts, stalled
from harness.history_io import Window
from harness.units import Seconds, to_ns, to_s
from harness.verdict import Evidence, Verdict

if TYPE_CHECKING:
    from harness.history import Wire
    from harness.history_io import History
    from harness.verdict import Finding

# How often real, evenly spread jitter would be called a constant.
FALSE_ALARM = 1e-6
# Where the middle delay may lie in the jitter's range. Evenly spread it is 0.5, and 0.65 once in a million for 200
# delays; a jitter twice as wide puts it at 1.
TYPICAL = 0.85
# The fewest gaps that tell jitter from a constant.
ENOUGH = 20


@dataclass(frozen=True, kw_only=True)
class Retries(Checker):
    """Judges exchanges on `link` (a pattern) under `path`; those of one path within `operation_gap` are one operation.

    * attempts: an operation is tried again after one of `retryable`, up to `attempts` in all, and after nothing else;
    * delay: between an attempt's end and the next one's start, `delay` · `factor`^n (at most `max_delay`), up to `jitter` more,
      give or take `error`. None may be shorter; a busy machine can make any of them longer, between the caller's
      timer and the wire, so `share` of them must be within the range, and the rest is told;
    * jitter: evenly spread delays would be packed as closely as these in less than one of a million runs; and half of
      them come in the first half of the range, as near as `TYPICAL` allows for what a machine adds;
    * amplification: attempts per operation.

    `expect` names the classes that must each have begun at least `at_least` operations.
    """

    link: str
    path: str = "/"
    phase: str = ""
    attempts: int = 3
    delay: Seconds = Seconds(0.1)
    factor: float = 2.0
    max_delay: Seconds = Seconds(5.0)
    jitter: float = 0.1
    retryable: tuple[str, ...] = RETRYABLE
    expect: tuple[str, ...] = RETRYABLE
    at_least: int = 1
    share: float = 0.8
    error: Seconds = Seconds(0.015)
    operation_gap: Seconds = Seconds(2.0)

    name: ClassVar[str] = "retries"

    def __call__(self, history: History) -> list[Finding]:
        spans = windows(history, self.phase)
        found = [
            call
            for call in calls(exchanges(history, self.link, self.path), to_ns(self.operation_gap))
            if any(call.start in span for span in spans)
        ]
        results = [
            self._attempts(found),
            self._delays(history, found),
            self._jitter(found),
            self._typical(found),
            self._amplification(found),
        ]
        doubts = [*run_doubts(history), *fault_doubts(history, whole(history).end)]
        if not spans:
            doubts.append(f"the history has no phase {self.phase}")
        if not found:
            doubts.append(f"no call under {self.path} was seen on {self.link}")
        begun = Counter(error_class(call.attempts[0]) for call in found)
        doubts += [
            f"{begun[name]} operations began with {name}, {self.at_least} are needed"
            for name in self.expect
            if begun[name] < self.at_least
        ]
        if begun[UNCLEAR]:
            doubts.append(f"of {begun[UNCLEAR]} operations the wire does not tell how they failed")
        for result in results:
            result.subject = self.link
            result.doubts += doubts
        return [result.finding(self) for result in results]

    def _attempts(self, found: list[Call]) -> Result:
        wrong = [call for call in found if not self._fits(call)]
        figures = {f"operations_{n}_attempts": 0.0 for n in range(1, self.attempts + 1)}
        for call in found:
            name = f"operations_{len(call.attempts)}_attempts"
            figures[name] = figures.get(name, 0.0) + 1
        return Result(
            claim=f"{self.attempts} attempts after {', '.join(self.retryable)}, one after other errors",
            value=float(len(wrong)),
            bound=0.0,
            error=0.0,
            unit="operations",
            figures=figures | {"operations": float(len(found))},
            evidence=[
                Evidence(call.start, f"{call.path}: {' '.join(_said(w) for w in call.attempts)}")
                for call in wrong
            ],
        )

    def _fits(self, call: Call) -> bool:
        for n, wire in enumerate(call.attempts, start=1):
            again = error_class(wire) in self.retryable and n < self.attempts
            if again != (n < len(call.attempts)):
                return False
        return True

    def _gaps(self, found: list[Call]) -> list[tuple[int, float, int]]:
        """(which retry from 0, gap in s, when) of each retry after a retryable error.

        A caller gives up after the same time each time. Where it was seen to go later than usual, the news was late, and
        the gap is counted from when it usually goes.
        """
        patience = _usual_patience(found)
        return [
            (n, to_s(b.t - min(end_of(a), a.t + patience)), b.t)
            if error_class(a) == TIMEOUT
            else (n, to_s(b.t - end_of(a)), b.t)
            for call in found
            for n, (a, b) in enumerate(pairwise(call.attempts))
            if error_class(a) in self.retryable
        ]

    def _base(self, n: int) -> float:
        return min(float(self.delay) * self.factor**n, float(self.max_delay))

    def _delays(self, history: History, found: list[Call]) -> Result:
        gaps = self._gaps(found)
        result = Result(
            claim=f"{self.share:.0%} of the delays are {self.delay:g} s, {self.factor:g} times longer each, up to {self.jitter:.0%} more; none is shorter",
            bound=0.0,
            error=float(self.error) * 1000,
            unit="ms",
        )
        if len(gaps) < ENOUGH:
            result.doubts.append(f"{len(gaps)} retries were seen, {ENOUGH} are needed")
        if not gaps:
            return result
        late, early = [], []
        for n, gap, t in gaps:
            least, most = self._base(n), self._base(n) * (1 + self.jitter)
            late.append(((gap - most) * 1000, t, n, gap))
            early.append(((least - gap) * 1000, t, n, gap))
        # Noise is on the long side: the shortest of all is judged, but only the given share of the longest.
        most_late = max(quantile([over for over, *_ in late], self.share), 0.0)
        result.value = max(most_late, max(early)[0], 0.0)
        within = result.value <= float(self.error) * 1000
        result.verdict = Verdict.PASS if within else Verdict.FAIL
        result.reason = "" if within else f"delays are {result.value:.1f} ms outside their range"
        if not within and max(early)[0] <= float(self.error) * 1000:
            self._blame(history, result, late)
        limit = float(self.error) * 1000
        result.figures["later_than_range"] = float(sum(over > limit for over, *_ in late))
        for n in sorted({n for n, _, _ in gaps}):
            these = [gap for m, gap, _ in gaps if m == n]
            result.figures |= spread_figures(these, f"delay{n + 1}_")
            result.figures[f"delay{n + 1}_min"] = min(these)
        result.evidence = [
            Evidence(t, f"retry {n + 1} came after {gap * 1000:.1f} ms, {off:.1f} ms outside")
            for off, t, n, gap in sorted(
                early if max(early)[0] > most_late else late, reverse=True
            )[:3]
            if off > 0
        ]
        return result

    def _blame(
        self, history: History, result: Result, late: list[tuple[float, int, int, float]]
    ) -> None:
        """Too late by no more than the machine stood still in those very delays: then nobody can tell."""
        owing = [
            over - to_s(stalled(history, Window(t - to_ns(gap), t))) * 1000
            for over, t, _, gap in late
        ]
        if quantile(owing, self.share) <= float(self.error) * 1000:
            result.verdict = Verdict.UNKNOWN
            result.reason += "; the machine stood still for as long in them"

    def _jitter(self, found: list[Call]) -> Result:
        """The width of the middle 80 % of all delays, as a share of the jitter's range."""
        shares = self._shares(found)
        count = len(shares)
        result = Result(claim="jitter is spread", relation=">=", error=0.0, unit="ratio")
        if count < ENOUGH:
            result.doubts.append(f"{count} delays are too few to tell jitter from a constant")
            return result
        cut = count // 10
        result.value = shares[count - 1 - cut] - shares[cut]
        result.bound = least_spread(count, count - 1 - 2 * cut, FALSE_ALARM)
        result.figures = {"delays": float(count), "false_alarm": FALSE_ALARM}
        return result

    def _shares(self, found: list[Call]) -> list[float]:
        """Each delay's place in its range: 0 for no jitter, 1 for all of it."""
        if not self.jitter:
            return []
        return sorted(
            (gap - self._base(n)) / (self._base(n) * self.jitter) for n, gap, _ in self._gaps(found)
        )

    def _typical(self, found: list[Call]) -> Result:
        """The middle delay: what a busy machine does to some of them leaves it where it is."""
        shares = self._shares(found)
        result = Result(
            claim=f"half of the delays have at most half of the jitter of {self.jitter:.0%}",
            bound=TYPICAL,
            error=0.0,
            unit="of the range",
        )
        if len(shares) < ENOUGH:
            result.doubts.append(f"{len(shares)} delays are too few to tell where the middle lies")
            return result
        result.value = quantile(shares, 0.5)
        return result

    def _amplification(self, found: list[Call]) -> Result:
        total = sum(len(call.attempts) for call in found)
        return Result(
            claim=f"at most {self.attempts} requests for each operation",
            value=total / len(found) if found else None,
            bound=float(self.attempts),
            error=0.0,
            unit="ratio",
            figures={"attempts": float(total), "operations": float(len(found))},
        )


def least_spread(count: int, steps: int, chance: float) -> float:
    """The distance below which two of `count` uniform order statistics, `steps` apart, lie with at most that chance.

    That distance is Beta(steps, count - steps + 1): P(D < r) = P(Binomial(count, r) >= steps).
    """
    low, high = 0.0, 1.0
    for _ in range(50):
        mid = (low + high) / 2
        tail = math.fsum(_binomial(count, k, mid) for k in range(steps, count + 1))
        low, high = (mid, high) if tail < chance else (low, mid)
    return low


def _binomial(n: int, k: int, p: float) -> float:
    """By logarithms: the coefficients alone would overflow a float."""
    log = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return math.exp(log + k * math.log(p) + (n - k) * math.log1p(-p))


def _usual_patience(found: list[Call]) -> int:
    """The middle of how long callers waited before they gave up, ns."""
    waited = [end_of(w) - w.t for call in found for w in call.attempts if error_class(w) == TIMEOUT]
    return round(quantile(waited, 0.5)) if waited else 0


def _said(wire: Wire) -> str:
    return error_class(wire) or str(wire.status)
