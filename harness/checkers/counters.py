"""Counters that a node's status tells: how fast one grows, and what share of several it is."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar

from harness.checkers.base import Checker, Result, clock, windows
from harness.checkers.soundness import fault_doubts, probe_doubts, run_doubts
from harness.checkers.status_field import field_of
from harness.history import Status
from harness.units import Seconds, to_ns, to_s
from harness.verdict import Evidence

if TYPE_CHECKING:
    from harness.history_io import History, Request, Window
    from harness.verdict import Finding

OUTWEIGHS = 2.0  # times the bound that must have been asked for, before keeping it says anything
COUNTED = 0.8  # the least share of a probe's answers that must be among what was counted


@dataclass(frozen=True, kw_only=True)
class CounterRate(Checker):
    """`field` (a dotted path) of the status of `node` grows by at most `at_most` a second, over any `window` in `phase`.

    It says something only where far more was asked: `probe` must have got its answers at twice that rate.
    """

    node: str
    field: str
    at_most: float
    probe: str
    phase: str = ""
    window: Seconds = Seconds(1.0)

    name: ClassVar[str] = "counter_rate"

    def __call__(self, history: History) -> list[Finding]:
        spans = windows(history, self.phase)
        if not spans:
            doubt = f"the history has no phase {self.phase}"
            return [Result(subject=self.node, doubts=[doubt]).finding(self)]
        return [self._span(history, span).finding(self) for span in spans]

    def _span(self, history: History, span: Window) -> Result:
        seen = _statuses(history, self.node, span)
        result = _result(history, self.node, self.field, self.probe, span)
        result.claim = f"{self.field} grows by at most {self.at_most:g}/s"
        result.bound, result.unit = self.at_most, "1/s"
        # Where a count falls between two statuses nobody knows: one more or less in a window.
        result.error = 1 / self.window
        result.doubts += _holes(seen, (self.field,), span, 2 * to_ns(self.window), self.node)
        asked = len(_answered(history, self.probe, span.start, span.end)) / to_s(
            span.end - span.start
        )
        result.figures |= {"asked per s": asked}
        if asked < OUTWEIGHS * self.at_most:
            result.doubts.append(
                f"only {asked:.3g} requests/s of {self.probe} were answered: that tells nothing of {self.at_most:g}/s"
            )
        rates = _rates(seen, self.field, to_ns(self.window))
        if rates:
            result.value, at = max(rates, key=lambda pair: pair[0])
            result.evidence.append(
                Evidence(at, f"{self.node}: {self.field} grew by {result.value:.3g}/s up to here")
            )
        return result


@dataclass(frozen=True, kw_only=True)
class CounterShare(Checker):
    """In `phase`, `field` of the status of `node` makes at least `at_least` of the growth of all the fields `among` together.

    Nearly all answers to `probe`, seen from outside, must be among what the node counted.
    """

    node: str
    field: str
    among: tuple[str, ...]  # dotted paths
    at_least: float
    probe: str
    phase: str = ""

    name: ClassVar[str] = "counter_share"

    def __call__(self, history: History) -> list[Finding]:
        spans = windows(history, self.phase)
        if not spans:
            doubt = f"the history has no phase {self.phase}"
            return [Result(subject=self.node, doubts=[doubt]).finding(self)]
        return [self._span(history, span).finding(self) for span in spans]

    def _span(self, history: History, span: Window) -> Result:
        seen = _statuses(history, self.node, span)
        fields = tuple(dict.fromkeys((self.field, *self.among)))
        result = _result(history, self.node, self.field, self.probe, span)
        result.claim = f"{self.field} is at least {self.at_least:g} of what is counted"
        result.relation, result.bound, result.error = ">=", self.at_least, 0.0
        result.unit = "ratio"
        result.doubts += _holes(seen, fields, span, (span.end - span.start) // 2, self.node)
        if len(seen) < 2 or result.doubts:  # noqa: PLR2004 - growth needs two
            return result
        grown = {name: _number(seen[-1], name) - _number(seen[0], name) for name in fields}
        total = sum(grown[name] for name in self.among)
        answers = len(_answered(history, self.probe, seen[0].t, seen[-1].t))
        result.figures |= {"counted": total, "answers": float(answers)}
        if total < COUNTED * answers or not total:
            result.doubts.append(
                f"{self.node} counted {total:g}, and {self.probe} alone got {answers} answers"
            )
        else:
            result.value = grown[self.field] / total
        return result


def _result(history: History, node: str, field: str, probe: str, span: Window) -> Result:
    return Result(
        subject=f"{node} {field} in {span.name or 'the whole run'}",
        doubts=[
            *run_doubts(history),
            *fault_doubts(history, span.end),
            *probe_doubts(history, probe, span, timely=False),
        ],
    )


def _statuses(history: History, node: str, span: Window) -> list[Status]:
    return [s for s in history.of(Status) if s.node == node and s.ok and s.t in span]


def _number(status: Status, field: str) -> float:
    value = field_of(status, field)
    return float(value) if isinstance(value, int | float) else 0.0


def _holes(
    seen: list[Status], fields: tuple[str, ...], span: Window, longest: int, node: str
) -> list[str]:
    """Reasons why growth between these statuses isn't known: none, too far apart, a restart, a field that isn't there."""
    if len(seen) < 2:  # noqa: PLR2004 - growth needs two
        return [f"{node} told its status {len(seen)} times"]
    doubts = [
        f"{node} has no number {name} at {clock(s.t)}"
        for s in seen
        for name in fields
        if not isinstance(field_of(s, name), int | float)
    ][:1]
    marks = [span.start, *(s.t for s in seen), span.end]
    worst = max(b - a for a, b in pairwise(marks))
    if worst > longest:
        doubts.append(f"{node} told nothing of itself for {to_s(worst):.1f} s")
    if len({s.boot for s in seen}) > 1:
        doubts.append(f"{node} was started anew, and counts from 0")
    return doubts


def _rates(seen: list[Status], field: str, window: int) -> list[tuple[float, int]]:
    """The growth per second from each status to the first one a window later, and when that was."""
    rates = []
    end = 0
    for status in seen:
        while end < len(seen) and seen[end].t - status.t < window:
            end += 1
        if end == len(seen):
            break
        grown = _number(seen[end], field) - _number(status, field)
        rates.append((grown / to_s(seen[end].t - status.t), seen[end].t))
    return rates


def _answered(history: History, probe: str, start: int, end: int) -> list[Request]:
    run = history.probes.get(probe)
    return [
        r
        for r in (run.requests if run is not None else ())
        if r.complete is not None and r.complete.outcome == "ok" and start <= r.complete.t < end
    ]
