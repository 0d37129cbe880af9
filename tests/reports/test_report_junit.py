from __future__ import annotations

import xml.etree.ElementTree as ET

import reports
from harness.history import End
from harness.verdict import Verdict
from reports.model import ScenarioRecord
from tests.reports.report_builder import finding, write_facts, write_scenario


def suites(tmp_path, *records: ScenarioRecord) -> ET.Element:
    write_facts(tmp_path, [str(n) for n in range(len(records))])
    for n, record in enumerate(records):
        write_scenario(tmp_path, str(n), record, [End(t=9)])
    reports.make(tmp_path)
    return ET.parse(tmp_path / "junit.xml").getroot()


def test_a_test_case_per_finding_and_no_unknown_looks_green(tmp_path):
    root = suites(
        tmp_path,
        ScenarioRecord(
            name="hub-crash",
            file="suites/hub.yaml",
            wall=31.25,
            findings=[
                finding("S2"),
                finding("S2", Verdict.FAIL, check="lost", reason="3 writes missing", subject=""),
                finding("P3", Verdict.UNKNOWN, check="level", reason="probe late"),
            ],
        ),
        ScenarioRecord(name="dead", requirements=["M2"], error="never ready"),
    )
    assert (root.get("tests"), root.get("failures"), root.get("errors"), root.get("skipped")) == (
        "4",
        "1",
        "2",
        "0",
    )
    first, second = root.iter("testsuite")
    assert (first.get("name"), first.get("time"), first.get("tests")) == (
        "hub-crash",
        "31.250",
        "3",
    )
    assert (second.get("errors"), second.get("failures")) == ("1", "0")
    cases = {(c.get("classname"), c.get("name")): c for c in root.iter("testcase")}
    passed = cases["S2", "hub-crash/recovery-time/hub-us-1"]
    assert [e.tag for e in passed] == ["system-out"]
    assert "measured: 0.104 s ± 0.006 s" in passed[0].text
    (failure,) = cases["S2", "hub-crash/lost"]
    assert (failure.tag, failure.get("message")) == ("failure", "3 writes missing")
    (error,) = cases["P3", "hub-crash/level/hub-us-1"]
    assert (error.tag, error.get("message"), error.get("type")) == (
        "error",
        "probe late",
        "unknown",
    )
    (dead,) = cases["M2", "dead/ran to its end"]
    assert dead.get("message") == "never ready"
    assert not list(root.iter("skipped"))


def test_what_xml_forbids_is_replaced(tmp_path):
    bad = '<a>&"\x00\x0b\x1b\ud7ff\uffff]]>'
    root = suites(
        tmp_path,
        ScenarioRecord(name=bad, findings=[finding(bad, Verdict.FAIL, check=bad, reason=bad)]),
    )
    (case,) = root.iter("testcase")
    assert case.get("classname") == '<a>&"\ufffd\ufffd\ufffd\ud7ff\ufffd]]>'
    assert case[0].get("message") == case.get("classname")
