from __future__ import annotations

import pytest

from harness.requirements import requirements
from harness.verdict import Verdict
from reports import judge
from reports.model import Check, RunFacts, ScenarioRecord, ScenarioResult, Shown
from tests.reports.report_builder import finding

PASS, FAIL, UNKNOWN = Verdict.PASS, Verdict.FAIL, Verdict.UNKNOWN


def check(requirement="S2", verdict=PASS, scenario="one", **changes) -> Check:
    return Check.of(finding(requirement, verdict, **changes), scenario)


def record(**changes) -> ScenarioRecord:
    return ScenarioRecord(**{"name": "one", "requirements": ["S2"], **changes})


def scenario_result(verdict) -> ScenarioResult:
    return ScenarioResult(
        name="one", title="", file="", folder="one", verdict=verdict, requirements=[], wall=1, error="",
        history_sha256="", events=0, checks=0,
    )  # fmt: skip


def verdicts(checks):
    return [(c.requirement, c.name, c.verdict) for c in checks]


def test_findings_as_they_are():
    assert verdicts(judge.checks_of(record(findings=[finding()]))) == [
        ("S2", "recovery-time", PASS)
    ]


def test_a_requirement_that_nothing_speaks_of_is_unknown():
    (only,) = judge.checks_of(record())
    assert (only.requirement, only.verdict, only.reason) == ("S2", UNKNOWN, "no check spoke of it")


@pytest.mark.parametrize("how", [{"error": "hub never ready"}, {}])
def test_no_pass_of_a_scenario_in_trouble_stands(how):
    findings = [finding("S2", PASS), finding("D3", FAIL), finding("P1", UNKNOWN, reason="why")]
    problem = "" if how else "hub never ready"
    found = judge.checks_of(
        record(requirements=["S2", "D3", "E1"], findings=findings, **how), problem
    )
    added = verdicts(found)[3:]
    assert added == [("S2", "ran to its end", UNKNOWN), ("E1", "ran to its end", UNKNOWN)]
    by_id = {r.id: r.verdict for r in judge.requirement_results(found)}
    assert (by_id["S2"], by_id["D3"], by_id["P1"], by_id["E1"]) == (
        "unknown",
        "fail",
        "unknown",
        "unknown",
    )
    assert found[-1].reason == "hub never ready"


def test_every_requirement_is_listed_and_a_foreign_one_is_not_lost():
    results = judge.requirement_results([check("S2"), check("Z9", FAIL)])
    assert [r.id for r in results] == [r.id for r in requirements()] + ["Z9"]
    shown = {r.id: r.verdict for r in results if r.verdict is not Shown.NOT_SHOWN}
    assert shown == {"S2": Shown.PASS, "Z9": Shown.FAIL}


def test_the_figure_is_that_of_the_check_that_decided():
    checks = [
        check(value=5.0, bound=60), check(value=50.0, bound=60), check(value=0, bound=0), check(value=None),
    ]  # fmt: skip
    assert judge.deciding(checks).value == 50
    assert judge.deciding([*checks, check(verdict=UNKNOWN, value=1.0)]).value == 1
    assert (
        judge.deciding(
            [*checks, check(verdict=FAIL, value=61.0), check(verdict=FAIL, value=99.0)]
        ).value
        == 99
    )
    assert (
        judge.deciding(
            [check(relation=">=", value=9, bound=5), check(relation=">=", value=6, bound=5)]
        ).value
        == 6
    )
    assert judge.deciding([check(value=0, bound=0), check(value=1, bound=0)]).value == 1
    assert judge.deciding([]) is None


def test_headline_names_rto_and_rpo():
    rpo = check(kind="rpo", value=0, bound=0, error=None)
    result = judge.requirement_results([check(value=3.2, error=0.1), rpo])
    (s2,) = [r for r in result if r.id == "S2"]
    assert judge.headline(s2) == "RTO 3.20 s ± 0.10 s, RPO 0"
    (e1,) = [r for r in result if r.id == "E1"]
    assert judge.headline(e1) == "—"


def test_recovery_table_has_all_five_rows():
    rows = judge.recovery_table([
        check("D3", value=14.2, error=0.1), check("D3", FAIL, kind="rpo", value=2.0, scenario="two"),
        check("D3", value=20.0), check("S3", value=1.0), check("M2", kind="", value=7),
    ])  # fmt: skip
    assert [r.requirement for r in rows] == ["E2", "S2", "D3", "M2", "M4"]
    d3 = rows[2]
    assert (d3.rto.verdict, d3.rto.value, d3.rto.target, d3.rto.checks) == (
        Shown.PASS,
        20.0,
        300,
        2,
    )
    assert (d3.rpo.verdict, d3.rpo.value, d3.rpo.scenario) == (Shown.FAIL, 2.0, "two")
    assert rows[3].rto.verdict is Shown.NOT_SHOWN
    assert rows[3].rto.value is None


def test_recoveries_outside_the_table_are_told_beside_it():
    assert judge.other_recoveries([check("S3"), check("S2"), check("S3", kind="")]) == [check("S3")]


@pytest.mark.parametrize(
    ("found", "scenarios", "verdict", "code"),
    [
        ([PASS, PASS], [Shown.PASS], PASS, 0),
        ([PASS, UNKNOWN], [Shown.UNKNOWN], UNKNOWN, 2),
        ([PASS, UNKNOWN, FAIL], [Shown.FAIL], FAIL, 1),
        ([], [], UNKNOWN, 2),
        (
            [PASS],
            [Shown.PASS, Shown.UNKNOWN],
            UNKNOWN,
            2,
        ),  # a scenario that failed before it had a requirement
        ([PASS], [Shown.PASS, Shown.NOT_SHOWN], PASS, 0),
    ],
)
def test_the_run(found, scenarios, verdict, code):
    checks = [check(verdict=v) for v in found]
    results = judge.results(RunFacts(run="r"), checks, [scenario_result(v) for v in scenarios])
    assert (results.verdict, results.exit_code) == (verdict, code)
    assert sum(results.counts().values()) == len(requirements())
