"""Durability (RPO): no acknowledged write is missing afterwards; if some are, how old the oldest is."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.checkers.base import (
    Checker,
    Result,
    clock,
    fault_text,
    faults_named,
    onset_evidence,
    whole,
    windows,
)
from harness.checkers.soundness import answer_doubts, fault_doubts, probe_doubts, run_doubts
from harness.checkers.writes import KeyLog, Written, key_logs, token, writes_of
from harness.units import Seconds, to_s
from harness.verdict import Evidence, Finding, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harness.history import Complete, Invoke
    from harness.history_io import FaultRun, History, Request


@dataclass(frozen=True, kw_only=True)
class Durability(Checker):
    """Judges what `writes` wrote (different values for each key) by reads made after the last write of each key.

    A write that was acknowledged must be there, or something written after it; a write that never got an answer may
    be there or not; a write that certainly failed, or that nobody made, must not be. Where the platform keeps one log
    for all keys (`one_log`), a log position given out twice, or a smaller one to a later write, shows a loss as well,
    also where a later write to the same key hides it. (Not seen is a loss that is hidden so, and whose log position
    went to a write that was never answered.)

    RPO is the age of the oldest missing write when the fault began, or when the newest missing one was acknowledged
    if that is later. With `rpo` 0 nothing may be missing at all. `reads` names the phase of the reads; "": any time
    after the writes. `evaluations` names probes whose answers must never go back to an older version on one node.
    """

    writes: tuple[str, ...]
    rpo: Seconds = Seconds(0.0)
    fault: str = ""
    reads: str = ""
    one_log: bool = True
    evaluations: tuple[str, ...] = ()

    name: ClassVar[str] = "durability"

    def __call__(self, history: History) -> list[Finding]:
        results = [self._rpo(history)]
        if self.evaluations:
            results.append(self._never_back(history))
        doubts = [*run_doubts(history), *fault_doubts(history, whole(history).end)]
        for result in results:
            result.doubts += doubts
        return [result.finding(self) for result in results]

    def _rpo(self, history: History) -> Result:
        written = writes_of(history, self.writes)
        acked = [w for w in written if w.acknowledged]
        runs = faults_named(history, self.fault)
        before = _seen_before(history, written)
        books = [_Book(log, before.get(log.key, set())) for log in key_logs(written).values()]
        result = Result(
            claim=f"no acknowledged write older than {self.rpo:g} s is missing"
            if self.rpo
            else "no acknowledged write is missing",
            subject=fault_text(runs[0]) if runs else "the run",
            bound=float(self.rpo),
            error=0.0,
            unit="s",
            kind="rpo",
            evidence=onset_evidence(runs[0]) if runs else [],
        )
        self._doubt(history, result, acked, runs)
        reads = self._reads(history)
        lost: dict[tuple[str, int], Written] = {}
        for book in books:
            book.judge(reads.get(book.log.key, []))
            lost |= {(w.key, w.order): w for w in book.lost}
            result.doubts += book.doubts
        if self.one_log:
            lost |= {(w.key, w.order): w for w in rewound(acked)}
        never = [text for book in books for text in book.invented]
        _conclude(result, sorted(lost.values(), key=lambda w: w.done), runs, never)
        result.figures |= {
            "writes": float(len(written)),
            "acknowledged": float(len(acked)),
            "failed": float(sum(w.outcome == "fail" for w in written)),
            "unknown": float(sum(w.outcome == "unknown" for w in written)),
            "keys": float(len(books)),
            "keys_read": float(sum(book.read is not None for book in books)),
        }
        return result

    def _doubt(
        self, history: History, result: Result, acked: Sequence[Written], runs: Sequence[FaultRun]
    ) -> None:
        if self.fault and not runs:
            result.doubts.append(f"the history has no fault {self.fault}")
        if not acked:
            result.doubts.append("no write was acknowledged")
        onset = runs[0].onset if runs else None
        if acked and onset is not None and all(w.done > onset for w in acked):
            result.doubts.append(
                "no write was acknowledged before the fault: there was nothing to lose"
            )
        for name in self.writes:
            # A write without an end counts as unknown here, as one whose answer never came.
            doubts = probe_doubts(history, name, whole(history), timely=False)
            unended = (
                answer_doubts(history.probes[name].requests, name) if name in history.probes else []
            )
            result.doubts += [d for d in doubts if d not in unended]

    def _reads(self, history: History) -> dict[str, list[Request]]:
        """The reads by key, in the order they were sent."""
        spans = windows(history, self.reads)
        found: dict[str, list[Request]] = defaultdict(list)
        for request in history.requests:
            if request.invoke.kind == "read" and any(
                s.start <= request.invoke.t <= history.last for s in spans
            ):
                found[request.invoke.key].append(request)
        return found

    def _never_back(self, history: History) -> Result:
        """Per node: an answer asked for after another came must not show an older version."""
        result = Result(
            claim="no node goes back to an older version",
            subject=", ".join(self.evaluations),
            bound=0.0,
            error=0.0,
            unit="answers",
        )
        answers: dict[str, list[tuple[Invoke, Complete]]] = defaultdict(list)
        for name in self.evaluations:
            result.doubts += probe_doubts(history, name, whole(history), timely=False)
            for request in history.probes[name].requests if name in history.probes else ():
                done = request.complete
                # Defaults of the emergency level come from no log position.
                if done is not None and done.outcome == "ok" and done.version >= 0:
                    answers[done.node].append((request.invoke, done))
        back = [text for node, seen in answers.items() for text in _went_back(node, seen)]
        count = sum(len(seen) for seen in answers.values())
        if not count:
            result.doubts.append("no answer told its version")
        result.value = float(len(back))
        result.figures = {"answers": float(count), "nodes": float(len(answers))}
        result.evidence += back
        return result


class _Book:
    """One key: what its last read shows of its writes."""

    def __init__(self, log: KeyLog, before: set[bytes]) -> None:
        self.log = log
        self.before = before  # values seen before the first write
        self.read: Complete | None = None
        self.lost: list[Written] = []
        self.invented: list[Evidence] = []
        self.doubts: list[str] = []

    def __repr__(self) -> str:
        return f"<_Book {self.log.key} lost={len(self.lost)} doubts={self.doubts}>"

    def judge(self, reads: Iterable[Request]) -> None:
        acked = [w for w in self.log.writes if w.acknowledged]
        ended = [w.done for w in self.log.writes if w.outcome != "unknown"]
        quiet = max([*ended, *(w.sent for w in self.log.writes)])
        later = [r.complete for r in reads if r.complete is not None and r.invoke.t >= quiet]
        answered = [c for c in later if c.outcome == "ok" or c.status == 404]  # noqa: PLR2004 - not found
        if len({token(w.value) for w in self.log.writes}) < len(self.log.writes):
            self.doubts.append(f"{self.log.key} was given the same value twice")
            return
        if not answered:
            if acked:
                self.doubts.append(f"{self.log.key} was not read after its last write")
            return
        self.read = max(answered, key=lambda c: c.t)
        self._compare(self.read, acked)

    def _compare(self, read: Complete, acked: list[Written]) -> None:
        absent = read.outcome != "ok" or read.value is None
        found = None
        if not absent:
            values = {token(w.value): w for w in self.log.writes}
            found = values.get(token(read.value))
        if absent or found is None:
            # With nothing acknowledged, what was there before the first write is right.
            self.lost = acked
            if acked and not absent and token(read.value) not in self.before:
                self._invent(read, "which nobody wrote")
        elif found is not None and found.outcome == "fail":
            self.lost = [w for w in acked if _behind(w, found)]
            self._invent(read, "whose write certainly failed")
        elif found is not None:
            self._older_than_last(read, found, acked)

    def _invent(self, read: Complete, why: str) -> None:
        text = f"{self.log.key} reads as {read.value!r}, {why}"
        self.invented.append(Evidence(read.t, text))

    def _older_than_last(self, read: Complete, found: Written, acked: list[Written]) -> None:
        missing = [w for w in acked if w is not found and _behind(w, found)]
        if not missing:
            return
        if found.acknowledged:
            self.lost = missing
            return
        told = read.metadata.get("flag_version")
        last = max(w.position for w in acked)
        if isinstance(told, int) and last >= 0:
            self.lost = [w for w in missing if w.position > told]
            return
        self.doubts.append(
            f"{self.log.key} reads as {read.value!r}, whose write was never answered: it may have overwritten "
            f"{len(missing)} acknowledged writes sent later, or they are lost"
        )


def _seen_before(history: History, written: Sequence[Written]) -> dict[str, set[bytes]]:
    """The values that answers showed for each key before its first write was sent."""
    begun: dict[str, int] = {}
    for write in written:
        begun.setdefault(write.key, write.sent)
    found: dict[str, set[bytes]] = defaultdict(set)
    for request in history.requests:
        done, key = request.complete, request.invoke.key
        if request.invoke.kind == "write" or done is None or done.outcome != "ok":
            continue
        if done.t <= begun.get(key, -1):
            found[key].add(token(done.value))
    return found


def _behind(write: Written, found: Written) -> bool:
    """Whether `write` certainly comes after `found`: by log position where both have one, else by their times."""
    if write.position >= 0 and found.position >= 0:
        return write.position > found.position
    return write.sent > found.done


def rewound(acked: Sequence[Written]) -> list[Written]:
    """Of the acknowledged writes of one log those whose position was given again, or a smaller one, to a write sent after their answer."""
    positioned = sorted((w for w in acked if w.position >= 0), key=lambda w: w.sent)
    least_from: list[int] = [1 << 62] * (len(positioned) + 1)
    for n in range(len(positioned) - 1, -1, -1):
        least_from[n] = min(least_from[n + 1], positioned[n].position)
    starts = [w.sent for w in positioned]
    found = []
    for write in positioned:
        at = bisect_right(starts, write.done)
        if least_from[at] <= write.position:
            found.append(write)
    # Two writes in flight together can't share a position either; the one answered first was overwritten.
    at_position: dict[int, Written] = {}
    for write in sorted(positioned, key=lambda w: w.done):
        twin = at_position.get(write.position)
        if twin is not None:
            found.append(twin)
        at_position[write.position] = write
    return found


def _conclude(
    result: Result, lost: list[Written], runs: Sequence[FaultRun], invented: list[Evidence]
) -> None:
    result.figures["lost"] = float(len(lost))
    result.figures["invented"] = float(len(invented))
    result.value = 0.0
    if lost:
        onset = runs[0].onset if runs else None
        until = max([lost[-1].done, *([onset] if onset is not None else [])])
        result.value = to_s(until - lost[0].done)
        result.evidence += [Evidence(w.done, f"acknowledged, then missing: {w}") for w in lost[:5]]
    result.evidence = [*invented[:3], *result.evidence]
    if invented:
        result.verdict = Verdict.FAIL
        result.reason = f"{len(invented)} keys show what was never successfully written"
    elif lost and not result.bound:
        result.verdict = Verdict.FAIL
        result.reason = (
            f"{len(lost)} acknowledged writes are missing, the oldest from {clock(lost[0].done)}"
        )


def _went_back(node: str, seen: list[tuple[Invoke, Complete]]) -> list[Evidence]:
    """Sweep by time: for each answer, the newest version that had come before it was asked for."""
    by_sent = sorted(seen, key=lambda pair: pair[0].t)
    by_done = sorted(seen, key=lambda pair: pair[1].t)
    newest, at, found = -1, 0, []
    for invoke, done in by_sent:
        while at < len(by_done) and by_done[at][1].t <= invoke.t:
            newest = max(newest, by_done[at][1].version)
            at += 1
        if done.version < newest:
            found.append(Evidence(done.t, f"{node} answers from {done.version} after {newest}"))
    return found
