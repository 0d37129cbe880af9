"""Several workers of one node that answer from one store: more than one answers, none is behind another, all get each update."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar

from harness.checkers.base import Checker, Result, clock, quantile, spread_figures, windows
from harness.checkers.soundness import fault_doubts, probe_doubts, run_doubts, worst_lateness
from harness.checkers.writes import Freshness, KeyLog, key_logs, same_value, writes_of
from harness.history_io import Request
from harness.units import Seconds, to_s
from harness.verdict import Evidence, Finding

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harness.checkers.writes import Written
    from harness.history_io import History, Window

LEAST_UPDATES = 3  # seen by more than one worker, or nothing is shown about their order


@dataclass(frozen=True, slots=True)
class Answer:
    """What one answer showed: of which worker, at which log position, and whether it fits together."""

    request: Request
    worker: str  # "" where it does not tell
    sent: int  # ns, the attempt that was answered
    done: int
    position: int
    of_key: int  # log position of the flag's last change; -1 unknown
    torn: str = ""  # why its parts are not of one moment


_Position = Callable[[Answer], int]


@dataclass(frozen=True, kw_only=True)
class SharedStore(Checker):
    """Judges the answers to `probe` in `phase` ("": all), which tell their worker in their metadata as `worker`.

    Three claims: at least `workers` of them answered; no answer is older than one that was there before it was sent,
    whichever worker gave either, nor made of parts of two moments; each worker shows every acknowledged write of `writes`
    (empty: of all write probes) within `within`.
    """

    probe: str
    workers: int
    writes: tuple[str, ...] = ()
    phase: str = ""
    within: Seconds = Seconds(1.0)

    name: ClassVar[str] = "shared_store"

    def __call__(self, history: History) -> list[Finding]:
        spans = windows(history, self.phase)
        written = writes_of(history, self.writes)
        logs = key_logs(written)
        run = history.probes.get(self.probe)
        chosen = [
            _answer(r, logs)
            for r in (run.requests if run is not None else ())
            if any(r.invoke.due in span for span in spans)
            and r.complete is not None
            and r.complete.outcome == "ok"
        ]
        by_worker = _by_worker(chosen)
        results = [self._count(by_worker), self._order(chosen, by_worker)]
        fresh = Freshness(logs)
        lags = [self._lag(name, by_worker[name], fresh, written) for name in sorted(by_worker)]
        for result in (*results, *lags):
            result.doubts += self._doubts(history, spans, timely=result in lags)
        return [result.finding(self) for result in (*results, *lags)]

    def _doubts(self, history: History, spans: list[Window], *, timely: bool) -> list[str]:
        """Who answers, and in which order, shows in answers to late requests too."""
        doubts = [
            *run_doubts(history),
            *fault_doubts(history, max((s.end for s in spans), default=0)),
            *(d for s in spans for d in probe_doubts(history, self.probe, s, timely=timely)),
        ]
        if not spans:
            doubts.append(f"the history has no phase {self.phase}")
        return doubts

    def _count(self, by_worker: dict[str, list[Answer]]) -> Result:
        return Result(
            subject=self.probe,
            claim=f"at least {self.workers} workers answer",
            value=float(len(by_worker)),
            relation=">=",
            bound=float(self.workers),
            error=0.0,
            unit="workers",
            figures={f"worker {name}": float(len(own)) for name, own in by_worker.items()},
        )

    def _order(self, answers: Sequence[Answer], by_worker: dict[str, list[Answer]]) -> Result:
        wrong = [*behind(answers), *(Behind(a, a.torn) for a in answers if a.torn)]
        updates = _shared_updates(by_worker)
        result = Result(
            subject=self.probe,
            claim="no answer is older than one before it, and each is of one moment",
            value=float(len(wrong)),
            bound=0.0,
            error=0.0,
            unit="answers",
            figures={"answers": float(len(answers)), "updates": float(updates)},
            evidence=[Evidence(each.answer.done, each.why) for each in wrong],
        )
        if updates < LEAST_UPDATES:
            result.doubts.append(f"{updates} updates were seen from more than one worker")
        return result

    def _lag(
        self, worker: str, own: list[Answer], fresh: Freshness, written: list[Written]
    ) -> Result:
        asked = [a.request for a in own]
        ages = [(fresh.age(request) or 0, request) for request in asked]
        worst, at = max(ages, key=lambda pair: pair[0])
        result = Result(
            subject=f"worker {worker}",
            claim=f"shows each write within {self.within:g} s",
            value=to_s(worst),
            bound=float(self.within),
            error=to_s(_step(asked) + worst_lateness(asked) + (at.latency or 0)),
            unit="s",
            figures=spread_figures([to_s(age) for age, _ in ages]),
        )
        if worst:
            result.evidence.append(
                Evidence(at.invoke.t, f"{at.invoke.key} is {to_s(worst):.3f} s behind")
            )
        first, last = asked[0].invoke.t, asked[-1].invoke.t
        seen = sum(first <= w.done <= last for w in written if w.acknowledged and w.position >= 0)
        result.figures["writes"] = float(seen)
        if not seen:
            result.doubts.append(f"no write was acknowledged while worker {worker} answered")
        return result


@dataclass(frozen=True, slots=True)
class Behind:
    """An answer that must not be, and why."""

    answer: Answer
    why: str


def behind(answers: Iterable[Answer]) -> list[Behind]:
    """The answers that are older than one that had come before they were sent: of the log as a whole, or of their key."""
    asked = sorted(answers, key=lambda a: a.sent)
    whole = _Newest(asked, lambda a: a.position)
    by_key: dict[str, list[Answer]] = defaultdict(list)
    for answer in asked:
        if answer.of_key >= 0:
            by_key[answer.request.invoke.key].append(answer)
    keys = {key: _Newest(own, lambda a: a.of_key) for key, own in by_key.items()}
    found = []
    for answer in asked:
        key = answer.request.invoke.key
        why = whole.before(answer)
        if not why and answer.of_key >= 0:
            why = keys[key].before(answer)
        if why:
            found.append(Behind(answer, f"{key}: {why}"))
    return found


class _Newest:
    """The newest position among the answers that had come by a time."""

    def __init__(self, answers: Iterable[Answer], position: _Position) -> None:
        self._position = position
        self._times: list[int] = []
        self._best: list[Answer] = []
        for answer in sorted(answers, key=lambda a: a.done):
            best = self._best[-1] if self._best else answer
            self._times.append(answer.done)
            self._best.append(max(best, answer, key=position))

    def __repr__(self) -> str:
        return f"<_Newest of {len(self._best)} answers>"

    def before(self, answer: Answer) -> str:
        """Why the answer is too old, or ""."""
        n = bisect_left(self._times, answer.sent)
        if not n:
            return ""
        newer, position = self._best[n - 1], self._position
        if position(newer) <= position(answer):
            return ""
        return (
            f"worker {answer.worker or 'unknown'} shows position {position(answer)}, asked at "
            f"{clock(answer.sent)}; worker {newer.worker or 'unknown'} had shown {position(newer)} by {clock(newer.done)}"
        )


def _answer(request: Request, logs: dict[str, KeyLog]) -> Answer:
    done = request.complete
    assert done is not None
    told, worker = done.metadata.get("flag_version"), done.metadata.get("worker")
    of_key = told if isinstance(told, int) and not isinstance(told, bool) else -1
    return Answer(
        request,
        "" if worker is None else str(worker),
        done.attempts[-1].start if done.attempts else request.invoke.t,
        done.t,
        done.version,
        of_key,
        _torn(request, of_key, logs.get(request.invoke.key)),
    )


def _torn(request: Request, of_key: int, log: KeyLog | None) -> str:
    """The value and its position must be of the same write."""
    done = request.complete
    assert done is not None
    if log is None or of_key < 0:
        return ""
    for write in log.acknowledged:
        if write.position == of_key and not same_value(done.value, write.value):
            return f"{write} was written there, and {done.value!r} is shown with that position"
    return ""


def _by_worker(answers: Iterable[Answer]) -> dict[str, list[Answer]]:
    found: dict[str, list[Answer]] = defaultdict(list)
    for answer in answers:
        if answer.worker:
            found[answer.worker].append(answer)
    return found


def _shared_updates(by_worker: dict[str, list[Answer]]) -> int:
    """Log positions after the first that more than one worker showed."""
    seen: dict[int, set[str]] = defaultdict(set)
    for name, own in by_worker.items():
        for answer in own:
            seen[answer.position].add(name)
    return max(0, sum(len(names) > 1 for names in seen.values()) - 1)


def _step(requests: Sequence[Request]) -> int:
    """The usual time between two answers of one worker, ns."""
    times = sorted(r.invoke.t for r in requests)
    return round(quantile([b - a for a, b in pairwise(times)] or [0], 0.5))
