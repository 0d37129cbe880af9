"""From findings to verdicts: of a requirement, of a row of the RTO/RPO table, of the run."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING

from harness.requirements import recovery_objectives, requirements
from harness.verdict import Finding, Verdict
from reports import numbers
from reports.model import (
    SCHEMA,
    Check,
    Objective,
    RecoveryRow,
    RequirementResult,
    Results,
    RunFacts,
    ScenarioRecord,
    ScenarioResult,
    Shown,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harness.requirements import Requirement

OUTSIDE = "not a requirement of the specification"
EXIT_CODES = {Verdict.PASS: 0, Verdict.FAIL: 1, Verdict.UNKNOWN: 2}
_RANK = {Verdict.FAIL: 0, Verdict.UNKNOWN: 1, Verdict.PASS: 2}


def checks_of(record: ScenarioRecord, problem: str = "") -> list[Check]:
    """The findings of a scenario, and an *unknown* for each requirement about which it should have said more.

    A scenario that failed, or whose history can't be read (`problem`), leaves no pass standing: half a timeline
    proves nothing. One that ended well adds one only where it names a requirement and then says nothing of it.
    """
    found = [Check.of(f, record.name) for f in record.findings]
    verdicts: dict[str, list[Verdict]] = {r: [] for r in record.requirements}
    for check in found:
        verdicts.setdefault(check.requirement, []).append(check.verdict)
    trouble = "; ".join(t for t in (record.error, problem) if t)
    if trouble:
        # A fail stays one, and an unknown needs no second.
        doubtful = [r for r, v in verdicts.items() if not v or Verdict.combine(v) is Verdict.PASS]
        return found + [_unsaid(record.name, r, "ran to its end", trouble) for r in doubtful]
    silent = [r for r, v in verdicts.items() if not v]
    return found + [_unsaid(record.name, r, "was checked", "no check spoke of it") for r in silent]


def _unsaid(scenario: str, requirement: str, check: str, reason: str) -> Check:
    finding = Finding(
        check=check,
        requirement=requirement,
        claim="the scenario ran to its end and its requirements were checked",
        verdict=Verdict.UNKNOWN,
        reason=reason,
    )
    return Check.of(finding, scenario)


def deciding(checks: Iterable[Check]) -> Check | None:
    """The check with the worst verdict; among equals the one nearest to its bound, or farthest beyond it."""
    return min(checks, key=lambda c: (_RANK[c.verdict], c.value is None, -_strain(c)), default=None)


def _strain(check: Check) -> float:
    """How far the value has used up its bound: 1 at the bound, more beyond it."""
    value, bound = check.value, check.bound
    if value is None or bound is None:
        return 0.0
    if check.relation in (">=", ">"):
        value, bound = bound, value
    if bound == 0:
        return math.inf if value > 0 else 0.0
    return value / bound


def headline(result: RequirementResult) -> str:
    """What was measured, in one phrase: RTO and RPO by name where they were, else the figure that decided."""
    by_kind = {k: deciding(c for c in result.checks if c.kind == k) for k in ("rto", "rpo")}
    named = [
        f"{kind.upper()} {numbers.measured(check.value, check.error, check.unit)}"
        for kind, check in by_kind.items()
        if check is not None and check.value is not None
    ]
    return ", ".join(named) or numbers.measured(result.value, result.error, result.unit)


def requirement_result(requirement: Requirement, checks: Sequence[Check]) -> RequirementResult:
    worst = deciding(checks)
    return RequirementResult(
        id=requirement.id,
        title=requirement.title,
        section=requirement.section,
        verdict=Shown.combine([c.verdict for c in checks]),
        target=requirement.target,
        value=worst.value if worst else None,
        error=worst.error if worst else None,
        unit=worst.unit if worst else requirement.unit,
        checks=list(checks),
    )


def requirement_results(checks: Iterable[Check]) -> list[RequirementResult]:
    """All requirements of the specification in its order, then whatever else findings name: nothing gets lost."""
    by_requirement: dict[str, list[Check]] = defaultdict(list)
    for check in checks:
        by_requirement[check.requirement].append(check)
    results = [requirement_result(r, by_requirement.pop(r.id, [])) for r in requirements()]
    return results + [_foreign(name, found) for name, found in by_requirement.items()]


def _foreign(name: str, checks: list[Check]) -> RequirementResult:
    worst = deciding(checks)
    return RequirementResult(
        id=name or "(none)",
        title=OUTSIDE,
        section="",
        verdict=Shown.combine([c.verdict for c in checks]),
        target="",
        value=worst.value if worst else None,
        error=worst.error if worst else None,
        unit=worst.unit if worst else "",
        checks=checks,
    )


def recovery_table(checks: Sequence[Check]) -> list[RecoveryRow]:
    """The specification's five rows, each with what the findings of kind "rto" and "rpo" measured."""
    rows = []
    for requirement in recovery_objectives():
        row = requirement.recovery
        assert row is not None
        mine = [c for c in checks if c.requirement == requirement.id]
        rows.append(
            RecoveryRow(
                row=row.row,
                requirement=requirement.id,
                strategy=row.strategy,
                rto=_objective([c for c in mine if c.kind == "rto"], row.rto, row.rto_text),
                rpo=_objective([c for c in mine if c.kind == "rpo"], row.rpo, row.rpo_text),
            )
        )
    return rows


def other_recoveries(checks: Iterable[Check]) -> list[Check]:
    """RTO and RPO findings of requirements that the specification's table does not list."""
    listed = {r.id for r in recovery_objectives()}
    return [c for c in checks if c.kind in ("rto", "rpo") and c.requirement not in listed]


def _objective(checks: list[Check], target: float, text: str) -> Objective:
    worst = deciding(checks)
    return Objective(
        verdict=Shown.combine([c.verdict for c in checks]),
        target=target,
        target_text=text,
        value=worst.value if worst else None,
        error=worst.error if worst else None,
        unit=worst.unit if worst else "s",
        scenario=worst.scenario if worst else "",
        checks=len(checks),
    )


def results(run: RunFacts, checks: Sequence[Check], scenarios: list[ScenarioResult]) -> Results:
    """The verdict of a run. One that shows nothing is unknown; so is one whose scenario failed without a check."""
    unsound = [Verdict.UNKNOWN for s in scenarios if s.verdict is Shown.UNKNOWN]
    verdict = Verdict.combine([c.verdict for c in checks] + unsound)
    return Results(
        schema=SCHEMA,
        verdict=verdict,
        exit_code=EXIT_CODES[verdict],
        run=run,
        requirements=requirement_results(checks),
        recovery=recovery_table(checks),
        scenarios=scenarios,
    )
