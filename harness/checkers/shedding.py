"""Shedding: how much of what somebody asks is served, and that the rest is turned away as it ought to be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.checkers.base import Checker, Result, windows
from harness.checkers.soundness import fault_doubts, probe_doubts, run_doubts
from harness.units import to_s
from harness.verdict import Evidence

if TYPE_CHECKING:
    from harness.history_io import History, Request, Window
    from harness.verdict import Finding

TOO_MANY = 429


@dataclass(frozen=True, kw_only=True)
class Shedding(Checker):
    """In each span of `phase`, of the requests of `probe` at most `at_most` a second are served, and at least `at_least`.

    Each other one is refused by 429 with a Retry-After of a second or more. It shows nothing where no more was asked for than
    `at_most`.
    """

    probe: str
    at_most: float
    at_least: float = 0.0
    phase: str = ""

    name: ClassVar[str] = "shedding"

    def __post_init__(self) -> None:
        if not 0 <= self.at_least <= self.at_most:
            raise ValueError("at_least must be from 0 to at_most")

    def __call__(self, history: History) -> list[Finding]:
        spans = windows(history, self.phase)
        if not spans:
            doubt = f"the history has no phase {self.phase}"
            return [Result(subject=self.probe, doubts=[doubt]).finding(self)]
        return [finding for span in spans for finding in self._span(history, span)]

    def _span(self, history: History, span: Window) -> list[Finding]:
        run = history.probes.get(self.probe)
        asked = [r for r in (run.requests if run else ()) if r.invoke.due in span]
        lasted = to_s(span.end - span.start) or 1.0
        doubts = [
            *run_doubts(history),
            *fault_doubts(history, span.end),
            *probe_doubts(history, self.probe, span),
        ]
        if len(asked) <= self.at_most * lasted:
            doubts.append(f"{self.probe} asked {len(asked) / lasted:.1f} times a second only")
        results = [self._served(asked, lasted), self._refused(asked)]
        for result in results:
            result.subject = f"{self.probe} in {span.name or 'the whole run'}"
            result.doubts += doubts
        return [result.finding(self) for result in results]

    def _served(self, asked: list[Request], lasted: float) -> Result:
        served = [r for r in asked if r.complete is not None and r.complete.outcome == "ok"]
        rate = len(served) / lasted
        result = Result(
            claim=f"{self.at_least:g} to {self.at_most:g} requests a second are served",
            value=rate,
            bound=self.at_most,
            # One at each end may belong to the time before or after.
            error=2 / lasted if self.at_most else 0.0,
            unit="/s",
            figures={"asked": float(len(asked)), "served": float(len(served))},
            evidence=[Evidence(r.invoke.t, "served") for r in served],
        )
        if rate < self.at_least:
            result.relation, result.bound = ">=", self.at_least
        return result

    def _refused(self, asked: list[Request]) -> Result:
        wrong = [(r, why) for r in asked if (why := _wrong(r))]
        return Result(
            claim="what is not served is refused by 429, with when to come again",
            value=float(len(wrong)),
            bound=0.0,
            error=0.0,
            unit="answers",
            evidence=[Evidence(r.invoke.t, why) for r, why in wrong],
        )


def _wrong(request: Request) -> str:
    """What is wrong with a refusal; "" for one as it should be, and for what was served."""
    done = request.complete
    if done is None or done.outcome == "ok":
        return ""
    if done.status != TOO_MANY:
        return f"{done.outcome} {done.error or done.status}"
    said = done.retry_after
    return "" if said.isdigit() and int(said) >= 1 else f"Retry-After is {said!r}"
