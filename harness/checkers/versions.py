"""A flag's past stays readable: each acknowledged version is there afterwards, as it was written, also from an archive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.checkers.base import Checker, Result, windows
from harness.checkers.soundness import fault_doubts, run_doubts
from harness.checkers.writes import same_value, writes_of
from harness.history import Objects
from harness.verdict import Evidence

if TYPE_CHECKING:
    from harness.checkers.writes import Written
    from harness.history import Complete
    from harness.history_io import History
    from harness.verdict import Finding

KIND = "version"


@dataclass(frozen=True, kw_only=True)
class Versions(Checker):
    """Each write that was acknowledged to `writes` is read in `phase`, by its log position, with the value and the very
    definition that were written.

    It says something of an archive only where there is one: `store` must have listed objects below `prefix` before the
    phase's reads, `at_least` of them.
    """

    writes: tuple[str, ...]
    phase: str
    node: str  # the store
    prefix: str = ""
    at_least: int = 1

    name: ClassVar[str] = "versions"

    def __call__(self, history: History) -> list[Finding]:
        spans = windows(history, self.phase)
        end = max((span.end for span in spans), default=0)
        acknowledged = [w for w in writes_of(history, self.writes) if w.acknowledged]
        reads = {
            (r.invoke.key, r.invoke.value): r.complete
            for r in history.requests
            if r.invoke.kind == KIND and any(span.start <= r.invoke.t for span in spans)
        }
        wrong = [(w, text) for w in acknowledged if (text := _wrong(w, _of(reads, w)))]
        unread = [w for w in acknowledged if not _of(reads, w)]
        result = Result(
            subject=", ".join(self.writes),
            claim="every acknowledged version is readable as it was written",
            value=float(len(wrong)),
            bound=0.0,
            error=0.0,
            unit="versions",
            figures={
                "acknowledged": float(len(acknowledged)),
                "read": float(len(acknowledged) - len(unread)),
            },
            evidence=[Evidence(w.done, f"{w}: {text}") for w, text in wrong],
            doubts=[*run_doubts(history), *fault_doubts(history, end)],
        )
        if not spans:
            result.doubts.append(f"the history has no phase {self.phase}")
        if not acknowledged:
            result.doubts.append("no write was acknowledged")
        if unread:
            result.doubts.append(f"{len(unread)} versions were not read, as {unread[0]}")
        result.doubts += self._archive(history, min((s.start for s in spans), default=0))
        return [result.finding(self)]

    def _archive(self, history: History, start: int) -> list[str]:
        listed = [o for o in history.of(Objects) if o.node == self.node and o.prefix == self.prefix]
        first_read = min(
            (r.invoke.t for r in history.requests if r.invoke.kind == KIND and r.invoke.t >= start),
            default=history.last,
        )
        seen = max(
            (len([s for s in o.objects if s.size]) for o in listed if o.t < first_read), default=0
        )
        if seen >= self.at_least:
            return []
        return [f"{self.node} had {seen} objects below {self.prefix!r}, {self.at_least} are needed"]


def _of(reads: dict[tuple[str, object], Complete | None], write: Written) -> Complete | None:
    done = reads.get((write.key, write.position))
    return done if done is not None and done.outcome == "ok" else None


def _wrong(write: Written, done: Complete | None) -> str:
    if done is None:
        return ""
    if done.status == 404:  # noqa: PLR2004 - not found
        return "it is not there any more"
    if not same_value(done.value, write.value):
        return f"it reads as {done.value!r}"
    written, read = done.metadata.get("written"), done.metadata.get("read")
    return "" if written and written == read else "its definition is not what was written"
