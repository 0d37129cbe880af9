"""Degradation levels: only along the chain, on the expected path, in time, and as clients are told."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar, Literal

from harness.checkers.base import Checker, Result, clock, fault_text, faults_named, windows
from harness.checkers.soundness import fault_doubts, probe_doubts, run_doubts
from harness.checkers.timeline import Boot, adjacent, boots_of, levelled_nodes, steps_from
from harness.units import NS, Seconds, to_ns, to_s
from harness.verdict import Evidence, Finding, Verdict

if TYPE_CHECKING:
    from harness.history import Complete, Invoke
    from harness.history_io import History

# A node that told no status for this long (s) before the end may have changed its level unseen.
BLIND = 5.0
# Nodes and harness read the same monotonic clock; a node records a transition a moment after it made it.
CLOCK_ERROR = 0.001


@dataclass(frozen=True, kw_only=True)
class Step:
    """A transition `to` a level, at most `within` (and not before `after`) of `since`: a fault's onset or heal
    (`fault`: label or kind; "": the first fault), or the step before.
    """

    to: str
    within: Seconds | None = None
    not_before: Seconds | None = None
    since: Literal["onset", "heal", "previous"] = "onset"
    fault: str = ""


@dataclass(frozen=True, kw_only=True)
class Levels(Checker):
    """Judges `nodes` (empty: all that tell a level) by their own records, and `probes` by what they were answered.

    * chain: each transition is one step along HEALTHY, DEGRADED_L1, DEGRADED_L2, EMERGENCY;
    * path: from the level `start` at the first fault's onset on, exactly `steps`, each in its time;
    * flags: `stale_warning` always and only at DEGRADED_L1, `emergency_mode` at DEGRADED_L2 and EMERGENCY;
    * client: each answer's level is one that its node was at while it was asked, give or take `slack`.

    `phase` restricts which answers are looked at. `seen`: levels at which clients must have been answered; "": all of
    the path's. A level that is only passed through may last for less than a probe's interval.
    """

    nodes: tuple[str, ...] = ()
    start: str = "HEALTHY"
    steps: tuple[Step, ...] = ()
    probes: tuple[str, ...] = ()
    phase: str = ""
    seen: tuple[str, ...] = ()
    slack: Seconds = Seconds(0.05)

    name: ClassVar[str] = "levels"

    def __call__(self, history: History) -> list[Finding]:
        nodes = list(self.nodes) or levelled_nodes(history)
        results = [r for node in nodes for r in self._node(history, node)]
        if not nodes:
            results.append(Result(doubts=["no node told its level"]))
        for probe in self.probes:
            results += self._probe(history, probe, nodes)
        doubts = [*run_doubts(history), *fault_doubts(history, history.last)]
        for result in results:
            result.doubts += doubts
        return [result.finding(self) for result in results]

    # -- what nodes say --------------------------------------------------------------------------------------------

    def _node(self, history: History, node: str) -> list[Result]:
        boots = boots_of(history, node)
        if not boots:
            return [Result(subject=node, doubts=[f"{node} never told its status"])]
        results = [self._chain(node, boots)]
        watched = max(b.seen.t for b in boots)
        if history.last - watched > BLIND * NS:
            results[0].doubts.append(f"{node} told no status after {clock(watched)}")
        if self.steps:
            results += self._path(history, node, boots)
        return results

    def _chain(self, node: str, boots: list[Boot]) -> Result:
        wrong, count = [], 0
        for boot in boots:
            count += len(boot.transitions)
            wrong += [
                Evidence(step.t, f"{node}: {step.source} → {step.to} skips a level")
                for step in boot.transitions
                if not adjacent(step.source, step.to)
            ]
            for a, b in pairwise(boot.transitions):
                if a.to != b.source or b.n != a.n + 1 or b.t < a.t:
                    text = f"{node}: after {a.source} → {a.to} (no. {a.n}) comes {b.source} → {b.to} (no. {b.n})"
                    wrong.append(Evidence(b.t, text))
        result = Result(
            subject=node,
            claim="levels change one step at a time along the chain",
            value=float(len(wrong)),
            bound=0.0,
            error=0.0,
            unit="transitions",
            figures={"transitions": float(count), "boots": float(len(boots))},
            evidence=wrong,
        )
        if not count:
            result.doubts.append(f"{node} recorded no transition")
        return result

    def _path(self, history: History, node: str, boots: list[Boot]) -> list[Result]:
        runs = faults_named(history, "")
        if not runs or runs[0].onset is None:
            return [Result(subject=node, doubts=["the history has no fault"])]
        onset = runs[0].onset
        seen = steps_from(boots, onset)
        at_onset = sorted({level for b in boots for level in b.levels(onset, onset)})
        wanted = [self.start, *(s.to for s in self.steps)]
        took = [seen[0].source if seen else "/".join(at_onset), *(s.to for s in seen)]
        watched = max(b.seen.t for b in boots)
        shape = Result(
            subject=node,
            claim=f"levels go {' → '.join(wanted)}",
            value=float(took != wanted),
            bound=0.0,
            error=0.0,
            unit="deviations",
            reason="" if took == wanted else f"levels went {' → '.join(took)}",
            figures={"steps": float(len(seen))},
            evidence=[
                Evidence(s.t, f"{node}: {s.source} → {s.to} {s.reason}".rstrip()) for s in seen
            ],
        )
        if history.last - watched > BLIND * NS:
            shape.doubts.append(f"{node} told no status after {clock(watched)}")
        results = [shape]
        for n in range(len(self.steps)):
            taken = seen[n].t if took[: n + 2] == wanted[: n + 2] else None
            previous = seen[n - 1].t if n and len(seen) >= n else onset
            results += self._timed(history, node, n, taken, previous=previous, watched=watched)
        return results

    def _timed(
        self, history: History, node: str, n: int, taken: int | None, *, previous: int, watched: int
    ) -> list[Result]:
        step = self.steps[n]
        start, since = _reference(history, step, previous)
        results = []
        for relation, bound in (("<=", step.within), (">=", step.not_before)):
            if bound is None:
                continue
            most = "within" if relation == "<=" else "not before"
            result = Result(
                subject=f"{node} to {step.to} (step {n + 1})",
                claim=f"{step.to} {most} {bound:g} s of {since}",
                relation=relation,
                bound=float(bound),
                error=CLOCK_ERROR,
                unit="s",
            )
            results.append(result)
            if start is None:
                result.doubts.append(f"the history has no {since}")
            elif taken is not None:
                result.value = to_s(taken - start)
                result.evidence = [Evidence(start, since), Evidence(taken, f"{node} at {step.to}")]
            elif watched > start + to_ns(bound):
                result.verdict = Verdict.FAIL
                result.reason = f"{node} did not take this step"
            else:
                result.doubts.append(f"{node} told no status after {clock(watched)}")
        return results

    # -- what clients are told -------------------------------------------------------------------------------------

    def _probe(self, history: History, probe: str, nodes: list[str]) -> list[Result]:
        spans = windows(history, self.phase)
        run = history.probes.get(probe)
        answers = [
            (r.invoke, r.complete)
            for r in (run.requests if run is not None else ())
            if r.complete is not None
            and r.complete.level
            and r.complete.node in nodes
            and any(r.invoke.due in span for span in spans)
        ]
        doubts = [d for span in spans for d in probe_doubts(history, probe, span, timely=False)]
        if not spans:
            doubts.append(f"the history has no phase {self.phase}")
        if not answers:
            doubts.append(f"no answer to {probe} told a level")
        figures: dict[str, float] = {"answers": float(len(answers))}
        for _, done in answers:
            figures[done.level] = figures.get(done.level, 0.0) + 1
        expected = set(self.seen)
        if not expected and not self.phase:
            expected = {self.start, *(s.to for s in self.steps)}
        doubts += [f"no answer to {probe} at {level}" for level in expected if level not in figures]
        flags = [_flag_evidence(done) for _, done in answers if not _flags_fit(done)]
        boots = {node: boots_of(history, node) for node in nodes}
        other = [e for i, d in answers if (e := self._not_at(i, d, boots[d.node])) is not None]
        results = []
        for claim, wrong in (
            ("metadata flags go with the level", flags),
            ("clients are told the level that the node was at", other),
        ):
            results.append(
                Result(
                    subject=probe,
                    claim=claim,
                    value=float(len(wrong)),
                    bound=0.0,
                    error=0.0,
                    unit="answers",
                    figures=dict(figures),
                    evidence=wrong,
                    doubts=list(doubts),
                )
            )
        results[1].doubts += [f"{n} never told its status" for n, b in boots.items() if not b]
        results[1].figures["slack"] = float(self.slack)
        return results

    def _not_at(self, invoke: Invoke, done: Complete, boots: list[Boot]) -> Evidence | None:
        slack = to_ns(self.slack)
        # What a node did after its last status of a life nobody knows.
        if not boots or invoke.t > max(b.seen.t for b in boots):
            return None
        own: set[str] = set()
        for boot in boots:
            own |= boot.levels(invoke.t - slack, done.t + slack)
        if done.level in own:
            return None
        return Evidence(
            done.t, f"{done.node} answered {done.level}, was at {'/'.join(sorted(own))}"
        )


def _reference(history: History, step: Step, previous: int) -> tuple[int | None, str]:
    if step.since == "previous":
        return previous, "the step before"
    runs = faults_named(history, step.fault)
    if not runs:
        return None, f"fault {step.fault}".rstrip()
    what = f"{step.since} of {fault_text(runs[0])}"
    return (runs[0].onset if step.since == "onset" else runs[0].heal), what


def _flags_fit(done: Complete) -> bool:
    stale = done.level == "DEGRADED_L1"
    emergency = done.level in ("DEGRADED_L2", "EMERGENCY")
    return done.stale == stale and done.emergency == emergency


def _flag_evidence(done: Complete) -> Evidence:
    return Evidence(
        done.t,
        f"{done.node} at {done.level} says stale_warning={done.stale}, emergency_mode={done.emergency}",
    )
