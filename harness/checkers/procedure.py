"""A procedure that the platform carries out by itself: all its steps, in their order, and its record of them true."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from harness.checkers.base import Checker, Result, clock, fault_text, faults_named, onset_evidence
from harness.checkers.soundness import fault_doubts, run_doubts
from harness.checkers.status_field import field_of, meets
from harness.history import Alert, Resolved, Status
from harness.units import Seconds, to_ns, to_s
from harness.verdict import Evidence, Verdict

if TYPE_CHECKING:
    from harness.history_io import FaultRun, History
    from harness.verdict import Finding


@dataclass(frozen=True, kw_only=True)
class Sign:
    """How a step is seen from outside: by an `alert`; by `field` of the status of `node` (as `status_field` has it); or by
    the `domain` leading clients to nodes of `to` first. What the record says and what is seen may differ by `slack` s.
    """

    step: str
    alert: str = ""
    node: str = ""
    field: str = ""
    equals: Any = None
    at_least: float | None = None
    domain: str = ""
    to: tuple[str, ...] = ()
    slack: Seconds = Seconds(1.0)


class _Step(msgspec.Struct, frozen=True):
    """As a node's record has it; `at` in ns of the monotonic clock."""

    step: str
    at: int
    seen: str = ""


@dataclass(frozen=True, kw_only=True)
class Procedure(Checker):
    """After `fault`, `node` tells in its status, under `field`, a list of records, each with the `steps` it took.

    The first record that begins after the onset must have exactly `steps`, one after the other, the last `within` of the
    onset, and keep each step as it was first told, whatever becomes of the node. Each of `signs` must be seen when the record says
    so: not before, and not only later.
    """

    node: str
    steps: tuple[str, ...]
    within: Seconds
    fault: str = ""
    field: str = "failovers"
    signs: tuple[Sign, ...] = ()

    name: ClassVar[str] = "procedure"

    def __call__(self, history: History) -> list[Finding]:
        runs = faults_named(history, self.fault)
        if not runs:
            doubt = f"the history has no fault {self.fault}".rstrip()
            return [Result(subject=self.node, doubts=[doubt]).finding(self)]
        return [found.finding(self) for run in runs for found in self._run(history, run)]

    def _run(self, history: History, run: FaultRun) -> list[Result]:
        onset = run.onset or 0
        tellings = self._tellings(history, onset)
        told = max(tellings, key=len, default=[])
        doubts = [*run_doubts(history), *fault_doubts(history, history.last)]
        results = [self._order(run, onset, told)]
        self._keeps(results[0], tellings)
        at = {step.step: step.at for step in told}
        results += [self._sign(history, onset, sign, at.get(sign.step)) for sign in self.signs]
        for result in results:
            result.subject = result.subject or f"{self.node} after {fault_text(run)}"
            result.doubts += doubts
        return results

    def _tellings(self, history: History, onset: int) -> list[list[_Step]]:
        """Of the first record that begins after the onset, one after the other; times since the history's origin."""
        found: list[list[_Step]] = []
        for status in history.of(Status):
            if status.node != self.node or status.t < onset:
                continue
            told = field_of(status, self.field)
            for record in told if isinstance(told, list) else []:
                steps = _steps(record, history.header.origin)
                if steps and steps[0].at >= onset:
                    found.append(steps)
                    break
        return found

    def _keeps(self, result: Result, tellings: list[list[_Step]]) -> None:
        """Each telling goes on where the one before it was."""
        for before, after in pairwise(tellings):
            if result.verdict is not Verdict.FAIL and after[: len(before)] != before:
                changed = next(step for n, step in enumerate(before) if after[n : n + 1] != [step])
                result.verdict = Verdict.FAIL
                result.reason = f"the step {changed.step}, told of at {clock(changed.at)}, was lost"

    def _order(self, run: FaultRun, onset: int, told: list[_Step]) -> Result:
        result = Result(
            claim=f"{', '.join(self.steps)}, in that order, within {self.within:g} s",
            bound=float(self.within),
            error=0.001,
            unit="s",
            evidence=onset_evidence(run)
            + [Evidence(s.at, f"{s.step}: {s.seen}".rstrip(": ")) for s in told],
        )
        names = [step.step for step in told]
        if not told:
            result.doubts.append(f"{self.node} told of no step after the fault's onset")
            return result
        result.value = to_s(told[-1].at - onset)
        result.figures = {step.step: to_s(step.at - onset) for step in told}
        if names != list(self.steps)[: len(names)]:
            result.verdict = Verdict.FAIL
            result.reason = f"the steps were {', '.join(names)}"
        elif any(b.at < a.at for a, b in pairwise(told)):
            result.verdict = Verdict.FAIL
            result.reason = "the record's times go back"
        elif len(names) < len(self.steps):
            result.verdict = Verdict.UNKNOWN
            result.reason = f"after {names[-1]} nothing more was told"
        return result

    def _sign(self, history: History, onset: int, sign: Sign, at: int | None) -> Result:
        result = Result(claim=f"the step {sign.step} is seen when the record says", unit="s")
        result.subject = f"{sign.step}: {sign.alert or sign.domain or f'{sign.node} {sign.field}'}"
        if at is None:
            result.doubts.append(f"{self.node} told of no step {sign.step}")
            return result
        seen = [(t, shown) for t, shown in _observed(history, sign) if t > onset]
        first = next((t for t, shown in seen if shown), None)
        slack = to_ns(sign.slack)
        still = [t for t, shown in seen if not shown and (first is None or t < first)]
        result.bound, result.error = float(sign.slack), 0.0
        if still and still[-1] > at + slack:
            result.verdict = Verdict.FAIL
            result.reason = f"recorded at {clock(at)}, and not yet so at {clock(still[-1])}"
            result.value = to_s(still[-1] - at)
        elif first is None:
            result.doubts.append("it was never looked for after that" if not seen else "never seen")
        else:
            result.value = to_s(max(0, at - first))
            result.evidence = [Evidence(first, f"seen; recorded at {clock(at)}")]
            if first < at - slack:
                result.verdict = Verdict.FAIL
                result.reason = f"seen at {clock(first)}, before it was recorded at {clock(at)}"
        return result


def _steps(record: object, origin: int) -> list[_Step]:
    """None that can't be read as steps."""
    told = record.get("steps") if isinstance(record, dict) else None
    try:
        steps = msgspec.convert(told or [], list[_Step])
    except msgspec.ValidationError:
        return []
    return [msgspec.structs.replace(step, at=step.at - origin) for step in steps]


def _observed(history: History, sign: Sign) -> list[tuple[int, bool]]:
    """Each look that could have shown it, in order of time, and whether it did."""
    if sign.alert:
        came = [(a.t, True) for a in history.of(Alert) if a.name == sign.alert]
        return [*came, (history.last, False)]
    if sign.domain:
        return [
            (r.t, r.nodes[0] in sign.to)
            for r in history.of(Resolved)
            if r.name == sign.domain and r.nodes
        ]
    return [
        (s.t, s.ok and meets(s, sign.field, (sign.equals,), sign.at_least))
        for s in history.of(Status)
        if s.node == sign.node and s.ok
    ]
