"""Recovery time (RTO): from a fault's onset to the first answer after which service stays within its objective."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from harness.checkers.base import (
    Checker,
    Result,
    clock,
    fault_text,
    faults_named,
    onset_evidence,
    quantile,
    whole,
    windows,
)
from harness.checkers.soundness import (
    fault_doubts,
    probe_doubts,
    run_doubts,
    stalled,
    worst_lateness,
)
from harness.checkers.writes import Freshness, key_logs, writes_of
from harness.history_io import FaultRun, History, Request, Window
from harness.units import NS, Seconds, to_ns, to_s
from harness.verdict import Evidence, Finding, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# The fewest requests of the baseline whose median is taken for its usual latency.
ENOUGH = 20


@dataclass(frozen=True, kw_only=True)
class Recovery(Checker):
    """Judges `probe` from the onset of `fault` (label or kind; "": each fault) until its heal or the end of `until`.

    An answer is within the objective when it is "ok", came within `objective` of when it was due, at one of `levels`
    (if given), and shows every write of `writes` acknowledged more than `fresh_within` before (if given).
    Answers count in the order in which they came. `since` "heal" measures from the heal on: a platform that can
    only recover once the fault is gone. With `rto` 0 no answer may miss the objective at all.
    `hold`: how long service must be seen within its objective before "stays" is said.
    `max_added_latency` bounds the slowest ok answer against the median of the phase `baseline`.
    """

    probe: str
    rto: Seconds
    fault: str = ""
    since: Literal["onset", "heal"] = "onset"
    until: str = ""
    objective: Seconds | None = None
    levels: tuple[str, ...] = ()
    writes: str = ""
    fresh_within: Seconds | None = None
    hold: Seconds = Seconds(1.0)
    max_added_latency: Seconds | None = None
    baseline: str = "baseline"

    name: ClassVar[str] = "recovery"

    def __call__(self, history: History) -> list[Finding]:
        runs = faults_named(history, self.fault)
        if not runs:
            doubt = f"the history has no fault {self.fault}".rstrip()
            return [Result(doubts=[doubt], kind="rto", unit="s").finding(self)]
        return [found.finding(self) for run in runs for found in self._fault(history, run)]

    def _fault(self, history: History, run: FaultRun) -> list[Result]:
        window = fault_window(history, run, since=self.since, until=self.until)
        if window is None:
            doubt = f"the fault {fault_text(run)} was never healed"
            return [Result(subject=fault_text(run), doubts=[doubt], kind="rto", unit="s")]
        requests = answers_in(history, self.probe, window)
        doubts = [
            *run_doubts(history),
            *fault_doubts(history, window.end),
            *probe_doubts(history, self.probe, window),
        ]
        if self.fresh_within is not None:
            doubts += self._write_doubts(history, window)
        results = [self._rto(history, run, window, requests)]
        if self.max_added_latency is not None:
            results.append(self._added(history, run, requests))
        for result in results:
            result.doubts += doubts
            result.subject = fault_text(run)
        return results

    def _rto(
        self, history: History, run: FaultRun, window: Window, requests: Sequence[Request]
    ) -> Result:
        within = self._judge_of(history)
        bad = [r for r in requests if not within(r)]
        good = {id(r) for r in requests} - {id(r) for r in bad}
        recovered = _stays(requests, good, window)
        near = [r for r in requests if recovered is None or r.invoke.due <= recovered]
        interval = sampling(history, self.probe)
        result = Result(
            claim=f"service is back within {self.rto:g} s",
            bound=float(self.rto),
            error=to_s(interval + worst_lateness(near)),
            unit="s",
            kind="rto",
            figures={
                "requests": float(len(requests)),
                "missed": float(len(bad)),
                "failed": float(sum(_failed(r) for r in bad)),
            },
            evidence=onset_evidence(run),
        )
        if run.injected is not None and run.onset is not None:
            result.figures["injection"] = to_s(run.injected - run.onset)
        for r in (bad[0], bad[-1]) if bad else ():
            result.evidence.append(_miss(r))
        if recovered is None:
            self._never(result, window)
        else:
            self._after(result, recovered, window, bool(bad))
        return result

    def _never(self, result: Result, window: Window) -> None:
        """Not back when the window closed: that long at least."""
        result.value = to_s(window.end - window.start)
        result.reason = f"not back within its objective when the fault ended at {clock(window.end)}"
        if result.value - (result.error or 0.0) > float(self.rto):
            result.verdict = Verdict.FAIL
        else:
            result.verdict = Verdict.UNKNOWN
            result.reason += f": too short a time to tell for {self.rto:g} s"

    def _after(self, result: Result, recovered: int, window: Window, missed: bool) -> None:
        result.value = to_s(recovered - window.start) if missed else 0.0
        held = window.end - (recovered if missed else window.start)
        too_late = result.value - (result.error or 0.0) > float(self.rto)
        if held < to_ns(self.hold) and not too_late:  # what came later could only make it worse
            result.doubts.append(
                f"service was within its objective for only {to_s(held):.3f} s before the fault ended"
            )
        if missed:
            result.evidence.append(Evidence(recovered, "first answer after which service stays"))
        if missed and not self.rto:
            result.verdict = Verdict.FAIL
            result.reason = f"{result.figures['missed']:g} requests missed the objective"

    def _write_doubts(self, history: History, window: Window) -> list[str]:
        written = writes_of(history, (self.writes,) if self.writes else ())
        if any(w.acknowledged and w.position >= 0 and w.done < window.end for w in written):
            return []
        return ["no write was acknowledged whose age an answer could show"]

    def _judge_of(self, history: History) -> Callable[[Request], bool]:
        fresh = None
        if self.fresh_within is not None:
            fresh = Freshness(key_logs(writes_of(history, (self.writes,) if self.writes else ())))

        def within(request: Request) -> bool:
            done = request.complete
            if done is None or done.outcome != "ok":
                return False
            if self.objective is not None and (request.latency or 0) > to_ns(self.objective):
                return False
            if self.levels and done.level not in self.levels:
                return False
            if fresh is None or self.fresh_within is None:
                return True
            return (fresh.age(request) or 0) <= to_ns(self.fresh_within)

        return within

    def _added(self, history: History, run: FaultRun, requests: Sequence[Request]) -> Result:
        assert self.max_added_latency is not None
        result = Result(
            claim=f"no answer comes more than {self.max_added_latency * 1000:g} ms later than usual",
            bound=float(self.max_added_latency) * 1000,
            unit="ms",
            evidence=onset_evidence(run),
        )
        usual = [
            to_s(r.latency or 0) * 1000
            for window in windows(history, self.baseline)
            for r in answers_in(history, self.probe, window)
            if not _failed(r) and r.complete is not None and r.complete.t <= (run.onset or 0)
        ]
        answered = [r for r in requests if not _failed(r)]
        if len(usual) < ENOUGH:
            result.doubts.append(f"only {len(usual)} answers in the phase {self.baseline}")
        if not usual or not answered:
            return result
        slowest = max(answered, key=lambda r: r.latency or 0)
        p50 = quantile(usual, 0.5)
        limit = p50 + float(self.max_added_latency) * 1000
        slow = [r for r in answered if to_s(r.latency or 0) * 1000 > limit]
        result.value = to_s(slowest.latency or 0) * 1000 - p50
        result.error = to_s(slowest.late) * 1000
        assert slowest.complete is not None
        waited = Window(slowest.invoke.due, slowest.complete.t)
        result.stalled = to_s(stalled(history, waited)) * 1000
        result.figures = {"baseline_p50": p50, "slower_than_bound": float(len(slow))}
        result.evidence.append(
            Evidence(slowest.invoke.t, f"answered after {to_s(slowest.latency or 0) * 1000:.1f} ms")
        )
        return result


def fault_window(
    history: History, run: FaultRun, *, since: str = "onset", until: str = ""
) -> Window | None:
    """The time a fault is looked at: from its onset to its heal, or from its heal to the next fault's onset.

    `until` names a phase whose end closes it instead. None when it begins at a heal that never was.
    """
    end = whole(history).end
    if since == "heal":
        if run.heal is None:
            return None
        start = run.heal
        later = [r.onset for r in history.faults.values() if r.onset and r.onset > start]
        end = min([end, *later])
    else:
        start = run.onset or 0
        end = end if run.heal is None else min(end, run.heal)
    if until:
        end = max((w.end for w in windows(history, until)), default=start)
    return Window(start, max(start, end), fault_text(run))


def answers_in(history: History, probe: str, window: Window) -> list[Request]:
    """Requests due before the window's end and not answered before its start, in the order of their answers."""
    run = history.probes.get(probe)
    if run is None:
        return []
    chosen = [
        r
        for r in run.requests
        if r.invoke.due < window.end and (r.complete is None or r.complete.t >= window.start)
    ]
    return sorted(chosen, key=lambda r: r.invoke.t if r.complete is None else r.complete.t)


def _stays(requests: Sequence[Request], good: set[int], window: Window) -> int | None:
    """When the first answer came after which all are good; the window's start when none was bad; None for never."""
    recovered: int | None = None
    for request in requests:
        if id(request) not in good:
            recovered = None
        elif recovered is None and request.complete is not None:
            recovered = request.complete.t
    if requests and len(good) == len(requests):
        return window.start
    return recovered


def sampling(history: History, probe: str) -> int:
    """The time between two requests: as promised, else as seen."""
    run = history.probes.get(probe)
    if run is None:
        return 0
    if run.start is not None and run.start.interval:
        return run.start.interval
    times = [r.invoke.t for r in run.requests]
    return max((b - a for a, b in itertools.pairwise(times)), default=NS)


def _failed(request: Request) -> bool:
    return request.complete is None or request.complete.outcome != "ok"


def _miss(request: Request) -> Evidence:
    done = request.complete
    if done is None:
        return Evidence(request.invoke.t, "no end")
    what = done.error or done.outcome
    if done.outcome == "ok":
        what = f"ok after {to_s(request.latency or 0) * 1000:.1f} ms at level {done.level or '?'}"
    return Evidence(done.t, f"missed the objective: {what}, sent at {clock(request.invoke.t)}")
