"""Staleness: how old the data is that a node serves, and in what rhythm it catches up."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar

from harness.checkers.base import Checker, Result, clock, quantile, spread_figures, windows
from harness.checkers.soundness import fault_doubts, probe_doubts, run_doubts, worst_lateness
from harness.checkers.writes import Freshness, KeyLog, Written, key_logs, writes_of
from harness.units import Seconds, to_ns, to_s
from harness.verdict import Evidence, Finding

if TYPE_CHECKING:
    from harness.history_io import History, Request, Window


@dataclass(frozen=True, kw_only=True)
class Cadence:
    """The time between two catch-ups, in s."""

    min: Seconds
    max: Seconds


@dataclass(frozen=True, kw_only=True)
class Staleness(Checker):
    """For each node that answers `probe` (empty `nodes`: all): the age of the oldest acknowledged write it doesn't show.

    Looked at are answers in `phase` and at `level`, where given. Age counts from the write's acknowledgement to the
    moment the request was sent, so it is never more than the truth. `cadence`: the times between two moments at
    which newer data appears, within one stay at the level.
    """

    probe: str
    bound: Seconds
    writes: tuple[str, ...] = ()
    phase: str = ""
    level: str = ""
    nodes: tuple[str, ...] = ()
    cadence: Cadence | None = None
    cached: bool = False  # only answers that came from a cache

    name: ClassVar[str] = "staleness"

    def __call__(self, history: History) -> list[Finding]:
        spans = windows(history, self.phase)
        written = writes_of(history, self.writes)
        logs = key_logs(written)
        stays = self._stays(history, logs, spans)
        doubts = [
            *run_doubts(history),
            *fault_doubts(history, max((s.end for s in spans), default=0)),
            *(d for span in spans for d in probe_doubts(history, self.probe, span)),
        ]
        if not spans:
            doubts.append(f"the history has no phase {self.phase}")
        nodes = list(self.nodes) or sorted(stays)
        if not nodes:
            doubts.append(f"no node answered {self.probe}{self._where()}")
            return [Result(subject=self.probe, doubts=doubts, unit="s").finding(self)]
        fresh = Freshness(logs)
        results = []
        for node in nodes:
            own = stays.get(node, [])
            results.append(self._age(node, own, fresh, written))
            if self.cadence is not None:
                results.append(self._rhythm(node, own, logs, self.cadence))
        for result in results:
            result.doubts += doubts
        return [result.finding(self) for result in results]

    def _where(self) -> str:
        at = " in a cache" if self.cached else ""
        at += f" at {self.level}" if self.level else ""
        return at + (f" in {self.phase}" if self.phase else "")

    def _stays(
        self, history: History, logs: dict[str, KeyLog], spans: list[Window]
    ) -> dict[str, list[list[Request]]]:
        """Per node, the runs of answers at the level, in the order they were sent."""
        stays: dict[str, list[list[Request]]] = defaultdict(list)
        inside: set[str] = set()
        run = history.probes.get(self.probe)
        for request in run.requests if run is not None else ():
            done = request.complete
            if done is None or done.outcome != "ok" or not done.node:
                continue
            node = done.node
            if self.cached and not done.cached:
                continue
            if (self.level and done.level != self.level) or not any(
                request.invoke.due in span for span in spans
            ):
                inside.discard(node)
                continue
            if request.invoke.key not in logs:
                continue
            if node not in inside:
                stays[node].append([])
                inside.add(node)
            stays[node][-1].append(request)
        return stays

    def _age(
        self,
        node: str,
        stays: list[list[Request]],
        fresh: Freshness,
        written: list[Written],
    ) -> Result:
        answers = [r for stay in stays for r in stay]
        ages = [(fresh.age(r) or 0, r) for r in answers]
        result = Result(
            subject=node,
            claim=f"data is at most {self.bound:g} s old{self._where()}",
            bound=float(self.bound),
            unit="s",
            error=to_s(_step(stays) + worst_lateness(answers)),
            figures=spread_figures([to_s(age) for age, _ in ages]),
        )
        acked = sum(
            any(stay[0].invoke.t <= w.done <= stay[-1].invoke.t for stay in stays)
            for w in written
            if w.acknowledged and w.position >= 0
        )
        result.figures["writes"] = float(acked)
        if not acked:
            result.doubts.append(f"no write was acknowledged while {node} answered{self._where()}")
        if not ages:
            return result
        worst, at = max(ages, key=lambda pair: pair[0])
        result.value = to_s(worst)
        result.error = (result.error or 0.0) + to_s(at.latency or 0)
        result.evidence.append(
            Evidence(at.invoke.t, f"{node} shows {at.invoke.key} {to_s(worst):.3f} s behind")
        )
        return result

    def _rhythm(
        self,
        node: str,
        stays: list[list[Request]],
        logs: dict[str, KeyLog],
        cadence: Cadence,
    ) -> Result:
        jumps = [_jumps(stay, logs) for stay in stays]
        gaps = [(b - a, b) for times in jumps for a, b in pairwise(times)]
        latencies = [r.latency or 0 for stay in stays for r in stay]
        # A catch-up shows at the next answer: each end of a gap is late by up to one step and its answer's latency.
        error = to_s(_step(stays)) + to_s(round(quantile(latencies or [0], 0.99)))
        result = Result(
            subject=node,
            claim=f"newer data appears each {cadence.min:g} to {cadence.max:g} s{self._where()}",
            bound=float(cadence.max),
            error=error,
            unit="s",
            figures=spread_figures([to_s(g) for g, _ in gaps], "gap_"),
        )
        if not gaps:
            result.doubts.append(f"{node} caught up fewer than twice{self._where()}")
            return result
        shortest, longest = min(gaps), max(gaps)
        result.figures["gap_min"] = to_s(shortest[0])
        result.value = to_s(longest[0])
        if float(cadence.min) - to_s(shortest[0]) > max(0.0, to_s(longest[0]) - float(cadence.max)):
            result.relation, result.bound = ">=", float(cadence.min)
            result.value = to_s(shortest[0])
        result.evidence = [
            Evidence(t, f"newer data {to_s(gap):.3f} s after the time before") for gap, t in gaps
        ]
        quiet = _longest_quiet(logs, jumps)
        if quiet > to_ns(cadence.min) / 2:
            result.doubts.append(
                f"no write for {to_s(quiet):.1f} s before {clock(longest[1])}: nothing new to catch up with"
            )
        return result


def _jumps(stay: list[Request], logs: dict[str, KeyLog]) -> list[int]:
    """When newer data first showed: the node's log position moved on, or that of one key where none is told."""
    times = []
    newest: int | None = None
    for request in sorted(stay, key=lambda r: r.complete.t if r.complete is not None else 0):
        done, key = request.complete, request.invoke.key
        assert done is not None
        if done.version < 0 and key != stay[0].invoke.key:
            continue
        mark = done.version if done.version >= 0 else logs[key].position(done)
        if newest is not None and mark > newest:
            times.append(done.t)
        newest = mark if newest is None else max(newest, mark)
    return times


def _step(stays: list[list[Request]]) -> int:
    """The usual time between two answers about one key, ns: how finely the node was watched."""
    gaps = []
    for stay in stays:
        last: dict[str, int] = {}
        for request in stay:
            key, t = request.invoke.key, request.invoke.t
            if key in last:
                gaps.append(t - last[key])
            last[key] = t
    return round(quantile(gaps, 0.5)) if gaps else 0


def _longest_quiet(logs: dict[str, KeyLog], jumps: list[list[int]]) -> int:
    """The longest time without an acknowledged write between the first and last catch-up, ns."""
    acks = sorted(w.done for log in logs.values() for w in log.acknowledged)
    worst = 0
    for times in jumps:
        if len(times) > 1:
            marks = [times[0], *(t for t in acks if times[0] < t < times[-1]), times[-1]]
            worst = max(worst, *(b - a for a, b in pairwise(marks)))
    return worst
