from __future__ import annotations

import io

import pytest
from msgspec.structs import replace

from harness.requirements import requirement
from harness.verdict import Verdict
from reports import judge, terminal
from reports.model import Check, RunFacts
from reports.terminal import Style
from tests.reports.report_builder import finding


class _Terminal(io.TextIOWrapper):
    def __init__(self, encoding="utf-8", *, tty=True) -> None:
        super().__init__(io.BytesIO(), encoding=encoding)
        self.tty = tty

    def isatty(self) -> bool:
        return self.tty


def results(*findings):
    checks = [Check.of(f, "hub-crash") for f in findings]
    return judge.results(RunFacts(run="r"), checks, [])


THREE = (
    finding("S2"),
    finding(
        "D3",
        Verdict.FAIL,
        value=2.31,
        error=0.2,
        kind="rpo",
        bound=0,
        reason="3 writes are missing",
    ),
    finding("E2", Verdict.UNKNOWN, value=None, reason="probe late"),
)


def test_style_of_a_stream(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    assert Style.of(_Terminal(), {}) == Style(colour=True, unicode=True, width=120)
    assert not Style.of(_Terminal(), {"NO_COLOR": "1"}).colour
    assert Style.of(_Terminal(), {"NO_COLOR": ""}).colour
    assert not Style.of(_Terminal(), {"TERM": "dumb"}).colour
    assert Style.of(_Terminal(tty=False), {}) == Style(colour=False, unicode=True, width=100)
    assert not Style.of(_Terminal("ascii"), {}).unicode
    assert not Style.of(_Terminal("latin-1"), {}).unicode
    monkeypatch.setenv("COLUMNS", "3")
    assert Style.of(_Terminal(), {}).width == terminal.NARROWEST


def test_a_line_per_requirement():
    line = terminal.requirement_line(requirement("S2"), [finding("S2")], Style(width=140))
    assert line == (
        "✓ pass      S2  PoPs of a failed hub move to the backup hub, else to the …  RTO 0.104 s ± 0.006 s  "
        "(target RTO < 1 min, RPO 0)"
    )
    bad = terminal.requirement_line(requirement("D3"), list(THREE[1:2]), Style(width=140))
    assert bad.startswith("✗ fail")
    assert bad.endswith("RPO 2.3 s ± 0.2 s  3 writes are missing")
    assert terminal.requirement_line(requirement("E1"), [], Style()).startswith("· not shown E1")


def test_table_and_verdict_last():
    lines = terminal.table(results(*THREE), Style(width=120)).splitlines()
    assert lines[0].split() == ["id", "verdict", "measured", "scenario", "target"]
    assert lines[3].split()[:3] == ["S2", "✓", "pass"]
    assert "RPO 2.3 s ± 0.2 s" in lines[4]
    assert lines[-1] == "✗ fail  1 pass, 1 fail, 1 unknown (exit code 1)"
    assert any(line.startswith("not shown: E1 E3") for line in lines)


def test_what_did_not_pass_is_told_in_full():
    text = terminal.table(results(*THREE), Style(width=50))
    assert " ".join(text.split()).count("3 writes are missing") == 1
    assert "probe late" in text
    many = [replace(THREE[1], subject=f"writer {n}") for n in range(8)]
    lines = terminal.table(results(*many), Style()).splitlines()
    assert sum("3 writes are missing" in line for line in lines) == terminal.MOST_REASONS
    assert "D3  and 3 more, in the report" in lines


def test_nothing_shown():
    assert (
        terminal.table(results(), Style()).splitlines()[-1]
        == "? unknown  nothing shown (exit code 2)"
    )


@pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
@pytest.mark.parametrize("unicode", [True, False])
def test_nothing_is_wider_than_the_terminal_nor_outside_its_characters(width, unicode):
    style = Style(unicode=unicode, width=width)
    text = terminal.table(results(*THREE), style)
    for f in THREE:
        text += "\n" + terminal.requirement_line(requirement(f.requirement), [f], style)
    assert max(map(len, text.splitlines())) <= width
    assert unicode or text.isascii()


def test_colour_changes_nothing_but_colour():
    painted = terminal.table(results(*THREE), Style(colour=True))
    assert "\x1b[31m✗ fail" in painted
    bare = painted
    for code in ("32", "31", "33", "2", "0"):
        bare = bare.replace(f"\x1b[{code}m", "")
    assert bare == terminal.table(results(*THREE), Style())


def test_names_do_not_command_the_terminal():
    evil = finding("S2", Verdict.UNKNOWN, reason="\x1b[2J\rgone\u202e")
    assert not {"\x1b", "\r", "\u202e"} & set(
        terminal.requirement_line(requirement("S2"), [evil], Style())
    )
