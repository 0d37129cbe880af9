"""Names: how long until every client that finds the platform by a name is led to where it is served now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.checkers.base import (
    Checker,
    Result,
    clock,
    fault_text,
    faults_named,
    onset_evidence,
    windows,
)
from harness.checkers.recovery import fault_window, sampling
from harness.checkers.soundness import (
    fault_doubts,
    probe_doubts,
    run_doubts,
    stalled,
    worst_lateness,
)
from harness.history import Resolved
from harness.history_io import Window
from harness.units import Seconds, to_ns, to_s
from harness.verdict import Evidence, Verdict

if TYPE_CHECKING:
    from harness.history_io import History
    from harness.verdict import Finding


@dataclass(frozen=True, kw_only=True)
class Names(Checker):
    """From the onset of `fault`, or from the start of `phase`, until `domain` leads every client to nodes of `to` alone, and
    none elsewhere after that until the fault's heal or the phase's end.

    Clients are the `probes`; none named: all that send on a schedule and look the name up. Each must have been led elsewhere
    before. An answer that is used beyond its TTL, as no server answers, leads where it always did.
    """

    domain: str
    to: tuple[str, ...]
    within: Seconds
    fault: str = ""
    phase: str = ""
    probes: tuple[str, ...] = ()

    name: ClassVar[str] = "names"

    def __post_init__(self) -> None:
        if self.fault and self.phase:
            raise ValueError("give a fault or a phase, not both")
        if not self.to:
            raise ValueError("to must name at least one node")

    def __call__(self, history: History) -> list[Finding]:
        if self.phase:
            spans = windows(history, self.phase)
            results = [self._moves(history, w, f"in {w.name}") for w in spans]
        else:
            results = []
            for run in faults_named(history, self.fault):
                window = fault_window(history, run)
                assert (
                    window is not None
                )  # it begins at the onset, which `faults_named` made sure of
                result = self._moves(history, window, f"after {fault_text(run)}")
                result.evidence += onset_evidence(run)
                results.append(result)
        if not results:
            what = f"phase {self.phase}" if self.phase else f"fault {self.fault}".rstrip()
            results = [Result(unit="s", doubts=[f"the history has no {what}"])]
        return [result.finding(self) for result in results]

    def _moves(self, history: History, window: Window, when: str) -> Result:
        result = Result(
            subject=f"{self.domain} {when}",
            claim=f"clients are led to {' or '.join(self.to)} within {self.within:g} s",
            bound=float(self.within),
            unit="s",
            doubts=[*run_doubts(history), *fault_doubts(history, window.end)],
        )
        clients = self._clients(history)
        if not clients:
            result.doubts.append(f"no client looked {self.domain} up")
            return result
        result.error = to_s(max(_error(history, name, window) for name in clients))
        times = [self._client(history, name, window, result) for name in clients]
        result.figures = {"clients": float(len(clients))}
        result.value = max(times)
        moved = window.start + to_ns(result.value)
        result.stalled = to_s(stalled(history, Window(window.start, moved)))
        return result

    def _clients(self, history: History) -> tuple[str, ...]:
        asked = dict.fromkeys(e.probe for e in history.of(Resolved) if e.name == self.domain)
        scheduled = {
            name for name, run in history.probes.items() if run.start and run.start.interval
        }
        return self.probes or tuple(name for name in asked if name in scheduled)

    def _client(self, history: History, name: str, window: Window, result: Result) -> float:
        """When it had moved, s after the window's start; the whole window where it has not, which the result then judges."""
        result.doubts += probe_doubts(history, name, window)
        known = [e for e in history.of(Resolved) if e.probe == name and e.name == self.domain]
        before = [e for e in known if e.t < window.start]
        inside = [e for e in known if e.t in window]
        if not before or self._well_led(before[-1]):
            led = _where(before[-1]) if before else "nowhere"
            result.doubts.append(f"{name} was led to {led} before")
        moved: Resolved | None = None
        for event in inside:
            moved = (moved or event) if self._well_led(event) else None
        if moved is not None:
            text = f"{name} is led to {_where(moved)} by {moved.server or 'no server'}"
            result.evidence.append(Evidence(moved.t, text))
            return to_s(moved.t - window.start)
        last = [*before, *inside][-1:]
        self._unmoved(history, name, last[0] if last else None, window, result)
        return to_s(window.end - window.start)

    def _unmoved(
        self, history: History, name: str, last: Resolved | None, window: Window, result: Result
    ) -> None:
        seen = (
            f"{name} was last led to {_where(last)} at {clock(last.t)}"
            if last
            else f"{name} learnt nothing"
        )
        if last is None or (last.t < window.start and last.t + last.ttl < window.end):
            result.doubts.append(f"{seen}, and asked for {self.domain} no more")
            return
        result.evidence.append(Evidence(last.t, seen))
        result.reason = f"{seen}; looked at until {clock(window.end)}"
        still = to_s(stalled(history, window))
        watched = to_s(window.end - window.start) - (result.error or 0.0) - still
        result.verdict = Verdict.FAIL if watched > float(self.within) else Verdict.UNKNOWN

    def _well_led(self, event: Resolved) -> bool:
        return bool(event.nodes) and all(node in self.to for node in event.nodes)


def _where(event: Resolved) -> str:
    found = ", ".join(node or "an unknown node" for node in event.nodes) or "nowhere"
    return found + (f" ({event.error})" if event.error else "")


def _error(history: History, name: str, window: Window) -> int:
    """A client asks when it has something to send: it may learn of a change so much later than it could have, ns."""
    run = history.probes.get(name)
    inside = [r for r in run.requests if r.invoke.due in window] if run else []
    return sampling(history, name) + worst_lateness(inside)
