"""Propagation: from a write's acknowledgement to the first answer of each node that shows it."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.checkers.base import Checker, Result, quantile, spread_figures, windows
from harness.checkers.soundness import fault_doubts, probe_doubts, run_doubts
from harness.checkers.writes import KeyLog, Written, key_logs, writes_of
from harness.units import Seconds, to_ns, to_s
from harness.verdict import Evidence, Finding

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.history_io import History, Request


@dataclass(frozen=True, kw_only=True)
class Propagation(Checker):
    """For each node that answers `probes` (empty `nodes`: all): 99 % of the writes acknowledged in `phase` show within `p99`.

    A write that a node never shows counts with the time for which it was seen not to; if that is shorter than `p99`
    it is left out (and counted in the figures), as nobody could know.
    """

    probes: tuple[str, ...]
    p99: Seconds
    writes: tuple[str, ...] = ()
    phase: str = ""
    nodes: tuple[str, ...] = ()

    name: ClassVar[str] = "propagation"

    def __call__(self, history: History) -> list[Finding]:
        spans = windows(history, self.phase)
        logs = key_logs(writes_of(history, self.writes))
        acked = [
            w
            for log in logs.values()
            for w in log.acknowledged
            if any(w.done in span for span in spans)
        ]
        answers = self._answers(history, logs)
        doubts = [
            *run_doubts(history),
            *fault_doubts(history, max((s.end for s in spans), default=0)),
            *(d for p in self.probes for s in spans for d in probe_doubts(history, p, s)),
        ]
        if not acked:
            doubts.append("no write was acknowledged")
        nodes = list(self.nodes) or sorted({node for node, _ in answers})
        results = [self._node(node, acked, answers, logs) for node in nodes]
        if not results:
            results = [Result(doubts=["no node answered"])]
        for result in results:
            result.doubts += doubts
        return [result.finding(self) for result in results]

    def _answers(
        self, history: History, logs: dict[str, KeyLog]
    ) -> dict[tuple[str, str], list[Request]]:
        """Per node and key, the ok answers in the order in which they came."""
        found: dict[tuple[str, str], list[Request]] = defaultdict(list)
        for name in self.probes:
            run = history.probes.get(name)
            for request in run.requests if run is not None else ():
                done = request.complete
                if done is not None and done.outcome == "ok" and request.invoke.key in logs:
                    found[done.node, request.invoke.key].append(request)
        for requests in found.values():
            requests.sort(key=lambda r: r.complete.t if r.complete is not None else 0)
        return found

    def _node(
        self,
        node: str,
        acked: Sequence[Written],
        answers: dict[tuple[str, str], list[Request]],
        logs: dict[str, KeyLog],
    ) -> Result:
        result = Result(
            subject=node,
            claim=f"99 % of the writes show within {self.p99:g} s",
            bound=float(self.p99),
            unit="s",
        )
        delays: list[tuple[float, Written, bool]] = []
        certain: list[float] = []
        open_ended = 0
        for key, log in logs.items():
            view = _View(log, answers.get((node, key), []))
            for write in acked:
                if write.key != key:
                    continue
                shown, least, delay = view.delay(write)
                if shown or delay > to_ns(self.p99):
                    delays.append((to_s(delay), write, shown))
                    certain.append(to_s(least))
                else:
                    open_ended += 1
        values = [d for d, _, _ in delays]
        result.figures = spread_figures(values) | {
            "never_shown": float(sum(not shown for _, _, shown in delays)),
            "left_out": float(open_ended),
        }
        if not delays:
            result.doubts.append(f"{node} was not asked for a key after it was written")
            return result
        result.value = quantile(values, 0.99)
        # Between two answers nobody looked: what is certain is the time until the last one that did not show it.
        result.error = result.value - quantile(certain, 0.99)
        delays.sort(key=lambda item: -item[0])
        result.evidence = [
            Evidence(w.done, f"{w} {'shown after' if shown else 'not shown for'} {d:.3f} s")
            for d, w, shown in delays[:3]
        ]
        if open_ended > len(delays):
            result.doubts.append(
                f"{open_ended} of {len(acked)} writes were not watched for long enough"
            )
        return result


class _View:
    """One node's answers about one key: from when on it showed a log position."""

    def __init__(self, log: KeyLog, requests: Sequence[Request]) -> None:
        self._newest: list[int] = []
        self._times: list[int] = []
        self._asked: list[
            int
        ] = []  # the latest time at which one of the answers so far was asked for
        newest = asked = -1
        for request in requests:
            if request.complete is not None:
                newest = max(newest, log.position(request.complete))
                asked = max(asked, request.invoke.t)
                self._newest.append(newest)
                self._asked.append(asked)
                self._times.append(request.complete.t)

    def __repr__(self) -> str:
        return f"<_View {len(self._times)} answers>"

    def delay(self, write: Written) -> tuple[bool, int, int]:
        """Whether it was shown; the least and the most time for which it was not, ns from its acknowledgement."""
        at = bisect_left(self._newest, write.position)
        least = max(0, self._asked[at - 1] - write.done) if at else 0
        if at < len(self._times):
            most = max(0, self._times[at] - write.done)
            return True, min(least, most), most
        return False, least, least
