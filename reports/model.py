"""What a report is made from, and what it says: plain data. `docs/results-schema.md` describes both for readers.

A run folder holds `run.json` (`RunFacts`) and a folder per scenario with `history.jsonl` and `findings.json`
(`ScenarioRecord`). Everything in a report comes from these files.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from harness.verdict import Evidence, Finding, Verdict

SCHEMA = 1  # of results.json; a change that could break a reader of it raises the number


class RunFacts(msgspec.Struct, kw_only=True):
    """`run.json`. `run` is the run's id, `started` Unix time in s, `wall` in s; `scenarios` are folder names."""

    run: str
    started: float = 0.0
    command: str = ""
    runtime: str = ""
    wall: float = 0.0
    environment: dict[str, str] = {}
    scenarios: list[str] = []


class ScenarioRecord(msgspec.Struct, kw_only=True):
    """`findings.json` of one scenario. `wall` in s; `error` says why the scenario did not end as it should."""

    name: str
    title: str = ""
    file: str = ""
    requirements: list[str] = []
    wall: float = 0.0
    error: str = ""
    findings: list[Finding] = []


class Shown(StrEnum):
    """A verdict, or that nothing was checked."""

    PASS = "pass"  # noqa: S105 - a verdict
    FAIL = "fail"
    UNKNOWN = "unknown"
    NOT_SHOWN = "not shown"

    @classmethod
    def combine(cls, verdicts: list[Verdict]) -> Shown:
        return cls(Verdict.combine(verdicts)) if verdicts else cls.NOT_SHOWN


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """A finding and the scenario it comes from; see `harness.verdict.Finding` for the fields."""

    name: str
    scenario: str
    requirement: str
    claim: str
    verdict: Verdict
    reason: str = ""
    value: float | None = None
    relation: str = "<="
    bound: float | None = None
    error: float | None = None
    unit: str = ""
    figures: dict[str, float] = {}
    evidence: tuple[Evidence, ...] = ()
    kind: str = ""
    subject: str = ""

    @classmethod
    def of(cls, finding: Finding, scenario: str) -> Check:
        shared = set(cls.__struct_fields__) & set(finding.__struct_fields__)
        fields = {name: getattr(finding, name) for name in shared}
        return cls(name=finding.check, scenario=scenario, **fields)


class RequirementResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a run says of one requirement. `value`, `error` and `unit` are those of the check that decided."""

    id: str
    title: str
    section: str
    verdict: Shown
    target: str
    value: float | None = None
    error: float | None = None
    unit: str = ""
    checks: list[Check] = []


class Objective(msgspec.Struct, frozen=True, kw_only=True):
    """RTO or RPO of one row: `target` in s with its text in the specification; `value` in `unit`."""

    verdict: Shown
    target: float
    target_text: str
    value: float | None = None
    error: float | None = None
    unit: str = "s"
    scenario: str = ""
    checks: int = 0


class RecoveryRow(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the specification's RTO/RPO table with what was measured."""

    row: str
    requirement: str
    strategy: str
    rto: Objective
    rpo: Objective


class LoadRow(msgspec.Struct, frozen=True, kw_only=True):
    """What locust counted of one kind of request of one load; latencies in ns. `error`: why it can't be relied on."""

    load: str
    endpoint: str
    requests: int
    failures: int
    unanswered: int
    p50: int
    p95: int
    p99: int
    max: int
    error: str = ""


class ScenarioResult(msgspec.Struct, frozen=True, kw_only=True):
    """One scenario. `folder` is inside the run folder; `wall` in s; `history_sha256` is "" without a history."""

    name: str
    title: str
    file: str
    folder: str
    verdict: Shown
    requirements: list[str]
    wall: float
    error: str
    history_sha256: str
    events: int
    checks: int
    load: list[LoadRow] = []


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """`results.json`. `exit_code`: 0 all shown pass, 1 any fail, 2 otherwise."""

    schema: int
    verdict: Verdict
    exit_code: int
    run: RunFacts
    requirements: list[RequirementResult]
    recovery: list[RecoveryRow]
    scenarios: list[ScenarioResult]

    def counts(self) -> dict[Shown, int]:
        """How many requirements of the specification have each verdict."""
        return {v: sum(r.verdict is v for r in self.requirements) for v in Shown}
