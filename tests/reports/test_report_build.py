from __future__ import annotations

import hashlib
import json
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import msgspec
import pytest

import reports
from harness.errors import HistoryError
from harness.history import End, Phase
from harness.units import NS
from harness.verdict import Verdict
from reports.model import ScenarioRecord, Shown
from reports.store import write_record
from tests.reports.json_schema import violations
from tests.reports.report_builder import (
    busy_history,
    finding,
    header,
    write_facts,
    write_history,
    write_scenario,
)

SCHEMA = json.loads(files("reports").joinpath("results.schema.json").read_text("utf-8"))
OUTPUTS = ("report.html", "results.json", "junit.xml", "report.md")


def record(**changes) -> ScenarioRecord:
    fields = {"name": "hub-crash", "title": "A hub crashes", "requirements": ["S2"], "wall": 31.0}
    return ScenarioRecord(**{**fields, "findings": [finding()], **changes})


@pytest.fixture
def run(tmp_path) -> Path:
    write_facts(tmp_path, ["hub-crash"])
    write_scenario(tmp_path, "hub-crash", record())
    return tmp_path


def verdicts(results):
    return {r.id: r.verdict.value for r in results.requirements if r.verdict is not Shown.NOT_SHOWN}


def test_all_four_are_written_and_say_the_same(run):
    results = reports.make(run)
    assert (results.verdict, results.exit_code) == (Verdict.PASS, 0)
    assert all((run / name).stat().st_size > 200 for name in OUTPUTS)
    told = json.loads((run / "results.json").read_text())
    assert told["verdict"] == "pass"
    assert len(told["requirements"]) == 30
    (s2,) = [r for r in told["requirements"] if r["id"] == "S2"]
    assert (s2["verdict"], s2["value"], s2["error"], s2["unit"]) == ("pass", 0.104, 0.006, "s")
    assert s2["checks"][0]["evidence"][0] == {"t": 10 * NS, "text": "hub-us-1 killed"}


def test_results_fit_their_schema(run):
    write_scenario(
        run, "other", record(name="other", error="x", findings=[finding("Z9", value=None)])
    )
    write_facts(run, ["hub-crash", "other", "missing"])
    reports.make(run)
    told = json.loads((run / "results.json").read_text())
    assert violations(told, SCHEMA) == []


@pytest.mark.parametrize(
    ("spoil", "at"),
    [
        (lambda t: t.update(schema=2), "$.schema"),
        (lambda t: t.pop("recovery"), "$: no recovery"),
        (lambda t: t["requirements"][0].update(verdict="skipped"), "$.requirements[0].verdict"),
        (lambda t: t["scenarios"][0].update(history_sha256="x"), "$.scenarios[0].history_sha256"),
        (lambda t: t["run"].update(wall="1"), "$.run.wall"),
    ],
)
def test_the_schema_tells_what_is_wrong(run, spoil, at):
    reports.make(run)
    told = json.loads((run / "results.json").read_text())
    spoil(told)
    assert violations(told, SCHEMA)[0].startswith(at)


def test_made_again_elsewhere_it_is_the_same(run, tmp_path_factory):
    reports.make(run)
    first = {name: (run / name).read_bytes() for name in OUTPUTS}
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "copy"
    run.rename(elsewhere)
    for name in OUTPUTS:
        (elsewhere / name).unlink()
    reports.make(elsewhere)
    assert {name: (elsewhere / name).read_bytes() for name in OUTPUTS} == first


def test_digest_is_that_of_the_history(run):
    (scenario,) = reports.make(run).scenarios
    raw = (run / "hub-crash" / "history.jsonl").read_bytes()
    assert scenario.history_sha256 == hashlib.sha256(raw).hexdigest()
    assert scenario.history_sha256 in (run / "report.html").read_text()


def test_without_findings_the_history_says_what_was_to_be_shown(run):
    (run / "hub-crash" / "findings.json").unlink()
    results = reports.make(run)
    assert verdicts(results) == {"S2": "unknown"}
    assert "findings.json: can't be read: No such file" in results.scenarios[0].error
    assert str(run) not in (run / "results.json").read_text()


@pytest.mark.parametrize("spoil", ["missing", "junk", "no end", "error"])
def test_a_pass_without_a_whole_history_is_unknown(run, spoil):
    folder = run / "hub-crash"
    match spoil:
        case "missing":
            (folder / "history.jsonl").unlink()
        case "junk":
            (folder / "history.jsonl").write_bytes(b"junk\n")
        case "no end":
            write_history(folder, [Phase(t=0, name="a")])
        case "error":
            write_history(folder, [Phase(t=0, name="a"), End(t=5, error="hub lost")])
    results = reports.make(run)
    assert verdicts(results) == {"S2": "unknown"}
    assert results.exit_code == 2


def test_a_scenario_that_left_nothing_does_not_disappear(run):
    write_facts(run, ["hub-crash", "gone"])
    results = reports.make(run)
    assert [(s.name, s.verdict.value) for s in results.scenarios] == [
        ("hub-crash", "pass"),
        ("gone", "unknown"),
    ]
    assert results.exit_code == 2


def test_two_scenarios_of_one_name_are_told_apart(run):
    write_scenario(run, "again", record(findings=[finding(verdict=Verdict.FAIL)]))
    write_facts(run, ["hub-crash", "again"])
    results = reports.make(run)
    assert [s.name for s in results.scenarios] == ["hub-crash", "hub-crash (again)"]
    assert [s.verdict.value for s in results.scenarios] == ["pass", "fail"]


@pytest.mark.parametrize("name", ["../other", "/etc", "a/../../b", ""])
def test_folders_outside_the_run_are_refused(run, name):
    write_facts(run, [name])
    with pytest.raises(HistoryError, match="outside the run folder"):
        reports.make(run)


def test_no_run_file(tmp_path):
    with pytest.raises(HistoryError, match=r"run\.json: can't be read"):
        reports.make(tmp_path)


def test_figures_that_are_not_finite(run):
    odd = finding(value=float("inf"), figures={"p99": float("nan"), "n": 3.0})
    write_record(run / "hub-crash", record(findings=[odd]))
    (check,) = [c for r in reports.make(run).requirements for c in r.checks]
    assert (check.value, check.figures) == (None, {"n": 3.0})


# ------------------------------------------------------------------------------------------------ hostile names

HOSTILE = '<script>alert(1)</script>"onload="x\x00\x1b[31m\u202e&\'--></style>'


class _Tags(HTMLParser):
    """Every tag and attribute of a page, and what is still open at its end."""

    VOID = {"meta", "link", "br", "hr", "img", "input", "col"}

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: dict[str, list[str]] = {}
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)
        for name, value in attrs:
            self.attributes.setdefault(name, []).append(value or "")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag


def parsed(path: Path) -> _Tags:
    page = _Tags()
    page.feed(path.read_text("utf-8"))
    page.close()
    return page


def _hostile(tmp_path: Path) -> Path:
    def rename(event):
        names = {f: HOSTILE for f in ("name", "label", "colour", "node", "link", "text", "source", "sender", "seen",
                                      "error", "level", "probe", "target", "group") if hasattr(event, f)}  # fmt: skip
        return msgspec.structs.replace(event, **names)

    events = [e if isinstance(e, End) else rename(e) for e in busy_history(seconds=4, rate=20)]
    claim = finding(
        HOSTILE, Verdict.UNKNOWN, check=HOSTILE, claim=HOSTILE, reason=HOSTILE, unit=HOSTILE, subject=HOSTILE,
        figures={HOSTILE: 1.0}, relation="<=", kind="rto",
    )  # fmt: skip
    bad = ScenarioRecord(
        name=HOSTILE,
        title=HOSTILE,
        file=HOSTILE,
        requirements=[HOSTILE],
        error=HOSTILE,
        findings=[claim],
    )
    write_facts(
        tmp_path,
        ["hub"],
        run=HOSTILE,
        command=HOSTILE,
        runtime=HOSTILE,
        environment={HOSTILE: HOSTILE},
    )
    write_scenario(
        tmp_path,
        "hub",
        bad,
        events,
        header(HOSTILE, title=HOSTILE, environment={"a" + HOSTILE: HOSTILE}),
    )
    return tmp_path


def test_nothing_hostile_becomes_markup(tmp_path):
    run = _hostile(tmp_path)
    reports.make(run)
    page = parsed(run / "report.html")
    assert page.open == []
    assert "script" not in page.tags
    assert not [name for name in page.attributes if name.startswith("on")]
    for name in ("report.html", "junit.xml", "report.md"):  # JSON carries data as it is
        text = (run / name).read_text("utf-8")
        assert not {"\x00", "\x1b", "\u202e"} & set(text), name
    assert "<script" not in (run / "report.md").read_text()


def test_the_page_loads_nothing(run):
    reports.make(run)
    page = parsed(run / "report.html")
    assert page.open == []
    assert not {"script", "link", "img", "iframe", "object", "use", "image"} & page.tags
    assert "src" not in page.attributes
    assert all(href.startswith("#") for href in page.attributes.get("href", []))
    text = (run / "report.html").read_text()
    assert "url(" not in text
    assert "@import" not in text
    assert "http://" not in text
    assert "https://" not in text


def test_the_report_tells_what_a_signer_must_know(run):
    broken = finding(
        "D3",
        Verdict.FAIL,
        kind="rpo",
        value=2.31,
        bound=0,
        error=0.2,
        reason="3 of 150 writes are missing",
    )
    late = finding("E2", Verdict.UNKNOWN, value=None, reason="probe users ran 180 ms late")
    write_record(run / "hub-crash", record(findings=[finding(), broken, late]))
    reports.make(run)
    text = (run / "report.html").read_text()
    for part in (
        "At least one promise of the specification was broken.",
        "3 of 30 requirements",
        "3 of 150 writes are missing",
        "2.3 s ± 0.2 s",
        "0.104 s ± 0.006 s",
        "probe users ran 180 ms late",
        "Origin region failure",
        "Not shown by this run: 27",
        "toxiproxy",
        "crash hub-us-1",
        "HUB_FAILOVER",
        "Level of pop-us: HEALTHY from 0.0 s, DEGRADED_L1 from 2.2 s",
    ):
        assert part in text, part


def test_a_long_history_makes_a_small_page(tmp_path):
    write_facts(tmp_path, ["long"])
    write_scenario(tmp_path, "long", record(), busy_history(seconds=300, rate=20))
    reports.make(tmp_path)
    assert (tmp_path / "report.html").stat().st_size < 200_000
