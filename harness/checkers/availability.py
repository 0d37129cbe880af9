"""Availability: the share of requests that were answered, per phase, after the client's own retry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.checkers.base import Checker, Result, clock, spread_figures, windows
from harness.checkers.soundness import fault_doubts, probe_doubts, run_doubts, worst_lateness
from harness.units import Seconds, to_s
from harness.verdict import Evidence, Finding

if TYPE_CHECKING:
    from harness.history_io import History, Request, Window


@dataclass(frozen=True, kw_only=True)
class Availability(Checker):
    """Judges `probe` in each span of `phase` ("": each phase of the scenario).

    Bounds: `min_ratio` of "ok" answers, or at most `max_failed` others (both may be given; with neither, none may
    fail); `p99` bounds the latency of the ok answers, from when they were due.
    """

    probe: str
    phase: str = ""
    min_ratio: float | None = None
    max_failed: int | None = None
    p99: Seconds | None = None

    name: ClassVar[str] = "availability"

    def __call__(self, history: History) -> list[Finding]:
        if self.phase or not history.phases:
            spans = windows(history, self.phase)
        else:
            names = dict.fromkeys(p.name for p in history.phases)
            spans = [w for name in names for w in windows(history, name)]
        if not spans:
            missing = Result(doubts=[f"the history has no phase {self.phase}"], subject=self.probe)
            return [missing.finding(self)]
        return [finding for span in spans for finding in self._span(history, span)]

    def _span(self, history: History, span: Window) -> list[Finding]:
        requests = _sent_in(history, self.probe, span)
        doubts = [
            *run_doubts(history),
            *fault_doubts(history, span.end),
            *probe_doubts(history, self.probe, span),
        ]
        failed = [r for r in requests if r.complete is not None and r.complete.outcome != "ok"]
        good = [r for r in requests if r.complete is not None and r.complete.outcome == "ok"]
        latencies = [to_s(r.latency or 0) for r in good]
        subject = f"{self.probe} in {span.name or 'the whole run'}"
        figures = {"requests": float(len(requests)), "failed": float(len(failed))}
        figures |= spread_figures(latencies, "latency_")
        evidence = [_failure(r) for r in failed]
        results = []
        if self.min_ratio is not None:
            results.append(self._ratio(len(requests), len(failed), figures))
        if self.max_failed is not None or self.min_ratio is None:
            bound = float(self.max_failed or 0)
            results.append(
                Result(
                    claim=f"at most {bound:g} requests fail",
                    value=float(len(failed)),
                    bound=bound,
                    error=0.0,
                    unit="requests",
                    figures=figures,
                )
            )
        if self.p99 is not None:
            results.append(self._latency(latencies, good, figures))
        for result in results:
            result.subject = subject
            result.doubts += doubts
            result.evidence += evidence
        return [result.finding(self) for result in results]

    def _ratio(self, sent: int, failed: int, figures: dict[str, float]) -> Result:
        assert self.min_ratio is not None
        budget = (1 - self.min_ratio) * sent
        result = Result(
            claim=f"at least {self.min_ratio:g} of the requests are answered",
            value=(sent - failed) / sent if sent else None,
            relation=">=",
            bound=self.min_ratio,
            error=0.0,
            unit="ratio",
            figures=figures | {"error_budget": budget, "error_budget_left": budget - failed},
        )
        # With so few requests that a single failure would break the bound, no failure shows little.
        if budget < 0.999 and self.min_ratio < 1:  # noqa: PLR2004 - 1, but for rounding
            result.doubts.append(
                f"{sent} requests are too few to show a share of {self.min_ratio:g}"
            )
        return result

    def _latency(
        self, latencies: list[float], good: list[Request], figures: dict[str, float]
    ) -> Result:
        assert self.p99 is not None
        result = Result(
            claim=f"99 % of the answers come within {self.p99 * 1000:g} ms",
            value=figures["latency_p99"] * 1000 if latencies else None,
            bound=float(self.p99) * 1000,
            error=to_s(worst_lateness(good)) * 1000,
            unit="ms",
            figures=figures,
        )
        slowest = sorted(good, key=lambda r: -(r.latency or 0))[:3]
        result.evidence += [
            Evidence(r.invoke.t, f"answered after {to_s(r.latency or 0) * 1000:.1f} ms")
            for r in slowest
        ]
        return result


def _sent_in(history: History, probe: str, span: Window) -> list[Request]:
    run = history.probes.get(probe)
    return [] if run is None else [r for r in run.requests if r.invoke.due in span]


def _failure(request: Request) -> Evidence:
    done = request.complete
    assert done is not None
    return Evidence(
        done.t, f"{done.outcome} {done.error or done.status} sent at {clock(request.invoke.t)}"
    )
