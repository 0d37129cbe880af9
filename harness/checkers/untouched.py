"""Isolation of shards: what happens to one is not noticed by the organisations of the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.checkers.base import Checker, Result, clock, faults_named, windows
from harness.checkers.listing import Listing, listing, org_of
from harness.checkers.soundness import fault_doubts, probe_doubts, run_doubts
from harness.verdict import Evidence

if TYPE_CHECKING:
    from harness.history_io import History, Request
    from harness.verdict import Finding


@dataclass(frozen=True, kw_only=True)
class Untouched(Checker):
    """No request of `probe` to an organisation that is not touched fails in `phases`; keys are written "org/key".

    Touched are those of the server `lost`, by the listing `before` (`fault` must then have made some of their requests fail); without it those
    that are on another server in the listing `after`.
    """

    probe: str
    before: str
    phases: tuple[str, ...]
    after: str = ""
    lost: str = ""
    fault: str = ""

    name: ClassVar[str] = "untouched"

    def __post_init__(self) -> None:
        if bool(self.after) == bool(self.lost):
            raise ValueError("give after or lost")
        if bool(self.lost) != bool(self.fault):
            raise ValueError("lost and fault belong together")

    def __call__(self, history: History) -> list[Finding]:
        told = [listing(history, label) for label in (self.before, self.after) if label]
        known = {org for org in told[0].places or () if all(each.server(org) for each in told)}
        touched = {org for org in known if self._is_touched(org, told)}
        mine = [r for r in _sent(history, self) if org_of(r.invoke.key) in known - touched]
        failed = [r for r in mine if r.complete is None or r.complete.outcome != "ok"]
        result = Result(
            claim="no request to an untouched organisation fails",
            subject=f"{self.probe} in {', '.join(self.phases)}",
            value=float(len(failed)),
            bound=0.0,
            error=0.0,
            unit="requests",
            figures={
                "requests": float(len(mine)),
                "untouched": float(len(known - touched)),
                "touched": float(len(touched)),
            },
            evidence=[_failure(request) for request in failed],
            doubts=[*run_doubts(history), *(each.doubt for each in told if each.doubt)],
        )
        self._doubt(history, result, touched)
        if not mine:
            result.doubts.append("nothing was sent to an untouched organisation")
        return [result.finding(self)]

    def _is_touched(self, org: str, told: list[Listing]) -> bool:
        if self.lost:
            return told[0].server(org) == self.lost
        return told[0].server(org) != told[1].server(org)

    def _doubt(self, history: History, result: Result, touched: set[str]) -> None:
        for phase in self.phases:
            spans = windows(history, phase)
            if not spans:
                result.doubts.append(f"the history has no phase {phase}")
            for span in spans:
                result.doubts += fault_doubts(history, span.end)
                result.doubts += probe_doubts(history, self.probe, span)
        if not touched:
            result.doubts.append("no organisation was touched: there was nothing to be kept from")
        elif self.lost and not self._bit(history, touched):
            result.doubts.append(f"no request to an organisation of {self.lost} failed")

    def _bit(self, history: History, touched: set[str]) -> bool:
        """Whether the fault was felt by those whom it must touch."""
        probe = history.probes.get(self.probe)
        runs = faults_named(history, self.fault)
        if probe is None or not runs or runs[0].onset is None:
            return False
        until = runs[0].heal or history.last
        return any(
            r.complete is not None and r.complete.outcome != "ok"
            for r in probe.requests
            if org_of(r.invoke.key) in touched and runs[0].onset <= r.invoke.t < until
        )


def _sent(history: History, check: Untouched) -> list[Request]:
    probe = history.probes.get(check.probe)
    spans = [span for phase in check.phases for span in windows(history, phase)]
    requests = probe.requests if probe is not None else []
    return [r for r in requests if any(r.invoke.due in span for span in spans)]


def _failure(request: Request) -> Evidence:
    done = request.complete
    how = f"{done.outcome} {done.error or done.status}" if done else "no end"
    at = done.t if done else request.invoke.t
    return Evidence(at, f"{request.invoke.key}: {how}, sent at {clock(request.invoke.t)}")
