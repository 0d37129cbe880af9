"""Answers: what evaluations must say for given keys, in a phase or at a level."""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, ClassVar

from harness.checkers.base import Checker, Result, windows
from harness.checkers.soundness import fault_doubts, probe_doubts, run_doubts
from harness.checkers.writes import same_value
from harness.units import Seconds, to_ns
from harness.verdict import Evidence

if TYPE_CHECKING:
    from harness.history import Complete
    from harness.history_io import History, Request
    from harness.verdict import Finding


_EXACT = (
    *("outcome", "status", "error", "variant", "reason", "level", "node"),
    "cache_control",
)


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What answers for keys like `key` must say; a field left out is not looked at. `at_least` of them must be seen."""

    key: str = "*"
    outcome: str | None = None
    status: int | None = None
    error: str | None = None
    value: Any = None
    variant: str | None = None
    reason: str | None = None
    level: str | None = None
    node: str | None = None
    stale: bool | None = None
    emergency: bool | None = None
    cache_control: str | None = None
    etag: bool | None = None  # whether there is one
    metadata: dict[str, Any] = field(default_factory=dict)  # what the answer's metadata must hold
    at_least: int = 1

    def matches(self, key: str) -> bool:
        return fnmatchcase(key, self.key)

    def wrong(self, done: Complete) -> str:
        """What is wrong with an answer, or ""."""
        for name in _EXACT:
            wanted, seen = getattr(self, name), getattr(done, name)
            if wanted is not None and seen != wanted:
                return f"{name} is {seen!r}, not {wanted!r}"
        for name in ("stale", "emergency"):
            wanted, seen = getattr(self, name), getattr(done, name)
            if wanted is not None and seen is not wanted:
                return f"{name} is {seen}"
        if self.etag is not None and bool(done.etag) is not self.etag:
            return f"etag is {done.etag!r}"
        for name, wanted in self.metadata.items():
            if not same_value(done.metadata.get(name), wanted):
                return f"metadata.{name} is {done.metadata.get(name)!r}, not {wanted!r}"
        if self.value is not None and not same_value(done.value, self.value):
            return f"value is {done.value!r}, not {self.value!r}"
        return ""


@dataclass(frozen=True, kw_only=True)
class Answers(Checker):
    """Each answer to `probe` in `phase` (but for its first and last `margin`), at `level` if given, must be as expected.

    An answer is held against the first of `expect` whose key it matches; keys that match none are not looked at.
    An answer without a level (an error) counts at every level.
    """

    probe: str
    expect: tuple[Expected, ...]
    phase: str = ""
    level: str = ""
    margin: Seconds = Seconds(0.0)

    name: ClassVar[str] = "answers"

    def __call__(self, history: History) -> list[Finding]:
        spans = windows(history, self.phase)
        margin = to_ns(self.margin)
        run = history.probes.get(self.probe)
        chosen = [
            r
            for r in (run.requests if run is not None else ())
            if any(s.start + margin <= r.invoke.due < s.end - margin for s in spans)
            and r.complete is not None
            and (not self.level or r.complete.level in (self.level, ""))
        ]
        result = self._judge(chosen)
        result.doubts += run_doubts(history)
        result.doubts += fault_doubts(history, max((s.end for s in spans), default=0))
        for span in spans:
            # A machine on which probes are late makes nodes give up on each other: what is wrong then may be its doing.
            timely = bool(result.value)
            result.doubts += probe_doubts(history, self.probe, span, timely=timely)
        if not spans:
            result.doubts.append(f"the history has no phase {self.phase}")
        return [result.finding(self)]

    def _judge(self, chosen: list[Request]) -> Result:
        counts = [0] * len(self.expect)
        wrong: list[Evidence] = []
        others = 0
        for request in chosen:
            key, done = request.invoke.key, request.complete
            n = next((n for n, e in enumerate(self.expect) if e.matches(key)), None)
            if n is None or done is None:
                others += 1
                continue
            counts[n] += 1
            if text := self.expect[n].wrong(done):
                wrong.append(Evidence(done.t, f"{key}: {text}"))
        result = Result(
            subject=self.probe,
            claim="answers are as expected",
            value=float(len(wrong)),
            bound=0.0,
            error=0.0,
            unit="answers",
            figures={"answers": float(sum(counts)), "not_looked_at": float(others)},
            evidence=wrong,
        )
        for expected, count in zip(self.expect, counts, strict=True):
            result.figures[f"answers {expected.key}"] = float(count)
            if count < max(1, expected.at_least):
                result.doubts.append(
                    f"{count} answers for {expected.key} were seen, {expected.at_least} are needed"
                )
        if not self.expect:
            result.doubts.append("nothing is expected")
        return result
