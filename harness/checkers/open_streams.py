"""Open streams: of some subscribers only so many are served at a time, and the others are told to come again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.checkers.base import Checker, Result, whole
from harness.checkers.soundness import fault_doubts, run_doubts, stream_doubts
from harness.history import Stream
from harness.verdict import Evidence

if TYPE_CHECKING:
    from harness.history_io import History
    from harness.verdict import Finding

REFUSED = "HTTP_429"
# What a busy machine may do as well as a platform.
NO_ANSWER = ("TIMEOUT", "CONNECTION_REFUSED", "CONNECTION_RESET", "CONNECTION_CLOSED")


@dataclass(frozen=True, kw_only=True)
class OpenStreams(Checker):
    """Of `probes` at most `at_most` have a stream at any time, and at least one has; who has none is refused by 429."""

    probes: tuple[str, ...]
    at_most: int

    name: ClassVar[str] = "open_streams"

    def __call__(self, history: History) -> list[Finding]:
        events = [s for s in history.of(Stream) if s.probe in self.probes]
        doubts = [*run_doubts(history), *fault_doubts(history, whole(history).end)]
        doubts += [doubt for probe in self.probes for doubt in stream_doubts(history, probe)]
        if len(self.probes) <= self.at_most:
            doubts.append(f"{len(self.probes)} subscribers are no more than may be served")
        results = [self._most(events), self._refusals(events)]
        for result in results:
            result.subject = ", ".join(self.probes)
            result.doubts += doubts
        return [result.finding(self) for result in results]

    def _most(self, events: list[Stream]) -> Result:
        opened: set[str] = set()
        result = Result(
            claim=f"at most {self.at_most} streams are open at a time",
            bound=float(self.at_most),
            error=0.0,
            unit="streams",
        )
        most = 0
        for event in events:
            if event.what == "open":
                opened.add(event.probe)
            elif event.what == "close":
                opened.discard(event.probe)
            if len(opened) > most:
                most = len(opened)
                result.evidence.append(Evidence(event.t, f"{most} open: {', '.join(opened)}"))
        result.value = float(most)
        if not most:
            result.doubts.append("none was ever open")
        return result

    def _refusals(self, events: list[Stream]) -> Result:
        """A stream that was never open ended for a reason: it must be that there was no room."""
        opened: set[str] = set()
        refused, others = 0, []
        result = Result(
            claim="who is not served is refused by 429", bound=0.0, error=0.0, unit="answers"
        )
        for event in events:
            if event.what == "open":
                opened.add(event.probe)
            elif event.what == "close" and event.probe in opened:
                opened.discard(event.probe)
            elif event.what == "close":
                refused += event.error == REFUSED
                if event.error in NO_ANSWER:
                    result.doubts.append(f"{event.probe} got no answer: {event.error}")
                elif event.error not in (REFUSED, "PROBE_END"):
                    others.append(Evidence(event.t, f"{event.probe}: {event.error}"))
        result.value, result.evidence = float(len(others)), others
        result.figures = {"refused": float(refused)}
        return result
