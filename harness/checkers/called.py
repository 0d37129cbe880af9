"""A call that the scenario made was answered as it must be, in time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from harness.checkers.base import Checker, Result
from harness.checkers.soundness import fault_doubts, run_doubts
from harness.checkers.writes import same_value
from harness.history import Call
from harness.target import pointer
from harness.units import Seconds, to_s
from harness.verdict import Evidence, Verdict

if TYPE_CHECKING:
    from harness.history_io import History
    from harness.verdict import Finding

TIMEOUT = "TIMEOUT"


@dataclass(frozen=True, kw_only=True)
class Called(Checker):
    """Each call labelled `call` is answered with `status` within `within`, and its JSON holds `holds` (dotted path to value)."""

    call: str
    within: Seconds
    status: int = 200
    holds: dict[str, Any] = field(default_factory=dict)

    name: ClassVar[str] = "called"

    def __call__(self, history: History) -> list[Finding]:
        calls = [each for each in history.of(Call) if each.label == self.call]
        if not calls:
            doubt = f"the call {self.call} was not made"
            return [Result(subject=self.call, doubts=[doubt]).finding(self)]
        return [self._judge(history, each).finding(self) for each in calls]

    def _judge(self, history: History, made: Call) -> Result:
        took = to_s(made.t - made.sent)
        answered = f"status {made.status}" if made.status else made.error
        result = Result(
            subject=f"{self.call} at {made.node}",
            claim=f"it is answered with {self.status} within {self.within:g} s",
            value=took,
            bound=float(self.within),
            error=0.001,
            unit="s",
            evidence=[
                Evidence(made.sent, f"{self.call} was sent to {made.node}"),
                Evidence(made.t, f"{made.node}: {answered}: {str(made.data)[:300]}"),
            ],
            doubts=[*run_doubts(history), *fault_doubts(history, made.t)],
        )
        if made.error == TIMEOUT and took < self.within:
            result.doubts.append(f"no answer was waited for after {took:.1f} s")
        elif made.status != self.status:
            result.verdict, result.reason = Verdict.FAIL, f"{made.node}: {answered}: {made.data}"
        elif wrong := self._wrong(made):
            result.verdict, result.reason = Verdict.FAIL, wrong
        return result

    def _wrong(self, made: Call) -> str:
        for path, wanted in self.holds.items():
            seen = pointer(path)(made.data)
            if not same_value(seen, wanted):
                return f"{path} is {seen!r}, not {wanted!r}"
        return ""
