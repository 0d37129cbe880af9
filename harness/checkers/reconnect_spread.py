"""Reconnections after a fault: all came back, and not as a stampede."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar

from harness.checkers.base import Checker, Result, clock, fault_text, faults_named, onset_evidence
from harness.checkers.calls import end_of, exchanges
from harness.checkers.recovery import fault_window
from harness.checkers.soundness import fault_doubts, run_doubts
from harness.units import Seconds, to_ns, to_s
from harness.verdict import Evidence, Verdict

if TYPE_CHECKING:
    from harness.history import Wire
    from harness.history_io import FaultRun, History, Window
    from harness.verdict import Finding


@dataclass(frozen=True, kw_only=True)
class ReconnectSpread(Checker):
    """Judges requests for `path` on links that match `link`, from the onset of `fault` to its heal.

    `sources` must all connect again (empty: those whose stream was cut at the onset), the last at most `within` after it.
    Their first successful requests span at least `min_span`, and no `window` holds more than `max_in_window` requests,
    failed ones included.
    """

    link: str
    min_span: Seconds
    max_in_window: int
    window: Seconds = Seconds(0.1)
    within: Seconds | None = None
    fault: str = ""
    path: str = "/stream"
    sources: tuple[str, ...] = ()

    name: ClassVar[str] = "reconnect_spread"

    def __call__(self, history: History) -> list[Finding]:
        runs = faults_named(history, self.fault)
        if not runs:
            doubt = f"the history has no fault {self.fault}".rstrip()
            return [Result(doubts=[doubt]).finding(self)]
        return [r.finding(self) for run in runs for r in self._fault(history, run)]

    def _fault(self, history: History, run: FaultRun) -> list[Result]:
        window = fault_window(history, run)
        assert window is not None  # it begins at the onset, which `faults_named` made sure of
        wires = exchanges(history, self.link, self.path)
        asked = [w for w in wires if w.t in window]
        back: dict[str, Wire] = {}
        for wire in asked:
            if wire.status == 200:  # noqa: PLR2004 - OK
                back.setdefault(_source(wire), wire)
        wanted = set(self.sources) or _cut_off(wires, window)
        results = [
            self._all_back(wanted, back, window),
            self._span(wanted, back),
            self._crowd(asked),
        ]
        doubts = [*run_doubts(history), *fault_doubts(history, window.end)]
        if not wanted:
            doubts.append(f"no stream on {self.link} was cut at {clock(window.start)}")
        for result in results:
            result.subject = fault_text(run)
            result.doubts += doubts
            result.evidence += onset_evidence(run)
        return results

    def _all_back(self, wanted: set[str], back: dict[str, Wire], window: Window) -> Result:
        missing = sorted(wanted - set(back))
        times = [to_s(back[s].t - window.start) for s in wanted if s in back]
        result = Result(
            claim="all connect again" + (f" within {self.within:g} s" if self.within else ""),
            unit="s",
            bound=None if self.within is None else float(self.within),
            value=max(times, default=None),
            error=0.001,
            figures={"sources": float(len(wanted)), "back": float(len(times))},
        )
        if missing:
            result.reason = f"{', '.join(missing)} did not connect again"
            watched = to_s(window.end - window.start)
            enough = self.within is None or watched > float(self.within)
            result.verdict = Verdict.FAIL if enough else Verdict.UNKNOWN
        return result

    def _span(self, wanted: set[str], back: dict[str, Wire]) -> Result:
        chosen = sorted((w for s, w in back.items() if s in wanted), key=lambda w: w.t)
        result = Result(
            claim=f"reconnections are spread over at least {self.min_span:g} s",
            relation=">=",
            bound=float(self.min_span),
            error=0.001,
            unit="s",
            figures={"reconnections": float(len(chosen))},
        )
        if len(chosen) < 2:  # noqa: PLR2004 - a span has two ends
            result.doubts.append(f"{len(chosen)} reconnections have no span")
            return result
        result.value = to_s(chosen[-1].t - chosen[0].t)
        result.figures["longest_gap"] = max(to_s(b.t - a.t) for a, b in pairwise(chosen))
        result.evidence = [
            Evidence(w.t, f"{_source(w)} connects by {w.link}") for w in (chosen[0], chosen[-1])
        ]
        return result

    def _crowd(self, asked: list[Wire]) -> Result:
        """The most requests in any window: each one may begin it."""
        width = to_ns(self.window)
        most, at, first = 0, 0, 0
        for n, wire in enumerate(asked):
            while asked[first].t <= wire.t - width:
                first += 1
            if n - first + 1 > most:
                most, at = n - first + 1, asked[first].t
        result = Result(
            claim=f"at most {self.max_in_window} requests in any {self.window * 1000:g} ms",
            value=float(most),
            bound=float(self.max_in_window),
            error=0.0,
            unit="requests",
            figures={"requests": float(len(asked))},
            evidence=[Evidence(at, f"{most} requests from here")] if asked else [],
        )
        if not asked:
            result.doubts.append("nobody connected")
        return result


def _source(wire: Wire) -> str:
    return wire.link.split("->", 1)[0]


def _cut_off(wires: list[Wire], window: Window) -> set[str]:
    """Who had a stream that was open at the onset and ended before the fault did."""
    return {
        _source(w)
        for w in wires
        if w.t < window.start <= end_of(w) < window.end and w.status == 200  # noqa: PLR2004 - OK
    }
