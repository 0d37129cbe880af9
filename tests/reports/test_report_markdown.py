from __future__ import annotations

import reports
from harness.history import End
from harness.verdict import Verdict
from reports.model import ScenarioRecord
from tests.reports.report_builder import finding, write_facts, write_scenario


def rendered(tmp_path, *findings) -> str:
    write_facts(tmp_path, ["one"])
    write_scenario(
        tmp_path, "one", ScenarioRecord(name="hub|crash", findings=list(findings)), [End(t=9)]
    )
    reports.make(tmp_path)
    return (tmp_path / "report.md").read_text("utf-8")


def test_tables_for_a_comment(tmp_path):
    text = rendered(
        tmp_path,
        finding("S2"),
        finding("S2", kind="rpo", value=0, bound=0, error=None),
        finding(
            "D3",
            Verdict.FAIL,
            kind="rpo",
            value=2.31,
            error=0.2,
            bound=0,
            reason="3 writes | missing",
        ),
        finding("E2", Verdict.UNKNOWN, reason="probe late", value=None),
    )
    assert text.startswith(
        "## squall: ❌ fail\n\n3 of 30 requirements shown: 1 pass, 1 fail, 1 unknown."
    )
    assert (
        "| S2 | PoPs of a failed hub move to the backup hub, else to the origin | ✅ pass | RTO &lt; 1 min, RPO 0 "
        "| RTO 0.104 s ± 0.006 s, RPO 0 | hub\\|crash |" in text
    )
    assert (
        "| Regional hub failure (S2) | &lt;1 minute | 0.104 s ± 0.006 s ✅ pass | 0 | 0 ✅ pass |"
        in text
    )
    assert "| Global platform outage (M4) | &lt;30 minutes | – not shown |" in text
    assert "- ❌ fail **D3 hub\\|crash/recovery-time**: 3 writes \\| missing" in text
    assert "- ❔ unknown **E2 hub\\|crash/recovery-time**: probe late" in text
    assert "Not shown by this run: E1, E3," in text


def test_every_row_of_a_table_has_the_columns_of_its_head(tmp_path):
    lines = rendered(tmp_path, finding("S2"), finding("D3", reason="a|b\nc")).splitlines()
    tables = [line.replace("\\|", "") for line in lines if line.startswith("|")]
    assert {line.count("|") for line in tables} == {7, 6}


def test_nothing_wrong_has_no_list_of_problems(tmp_path):
    assert "What did not hold" not in rendered(tmp_path, finding("S2"))
