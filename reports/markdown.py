"""Compact tables for a comment on a pull request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.verdict import Verdict
from reports import numbers
from reports.judge import deciding, headline
from reports.model import Shown
from reports.text import markdown, shorten

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reports.model import Check, Objective, RequirementResult, Results

MARKS = {"pass": "✅ pass", "fail": "❌ fail", "unknown": "❔ unknown", "not shown": "– not shown"}  # noqa: RUF001 - a dash
LONGEST = 240  # characters of a reason


def render(results: Results) -> str:
    """Verdict, the requirements shown, the RTO/RPO table, why something failed or is unknown, what was not shown."""
    shown = [r for r in results.requirements if r.verdict is not Shown.NOT_SHOWN]
    parts = [
        f"## squall: {MARKS[results.verdict]}",
        f"{_summary(results)} Run {markdown(results.run.run)}, {numbers.duration(results.run.wall)}.",
        _table(
            ("", "requirement", "verdict", "target", "measured", "scenario"),
            [_row(r) for r in shown],
        ),
        "### RTO and RPO",
        _table(
            ("failure", "RTO target", "RTO measured", "RPO target", "RPO measured"),
            [
                (
                    markdown(f"{row.row} ({row.requirement})"),
                    markdown(row.rto.target_text),
                    _objective(row.rto),
                    markdown(row.rpo.target_text),
                    _objective(row.rpo),
                )
                for row in results.recovery
            ],
        ),
        _loads(results),
        _problems(shown),
        _not_shown(results),
    ]
    return "\n\n".join(p for p in parts if p) + "\n"


def _summary(results: Results) -> str:
    counts = results.counts()
    named = [f"{counts[v]} {v.value}" for v in (Shown.PASS, Shown.FAIL, Shown.UNKNOWN) if counts[v]]
    shown = len(results.requirements) - counts[Shown.NOT_SHOWN]
    told = f": {', '.join(named)}" if named else ""
    return f"{shown} of {len(results.requirements)} requirements shown{told}."


def _row(result: RequirementResult) -> tuple[str, ...]:
    scenarios = ", ".join(dict.fromkeys(c.scenario for c in result.checks))
    return (
        markdown(result.id),
        markdown(result.title),
        MARKS[result.verdict],
        markdown(result.target),
        markdown(headline(result)),
        markdown(shorten(scenarios, 80)),
    )


def _objective(objective: Objective) -> str:
    if objective.verdict is Shown.NOT_SHOWN:
        return MARKS[Shown.NOT_SHOWN]
    figure = numbers.measured(objective.value, objective.error, objective.unit)
    return f"{markdown(figure)} {MARKS[objective.verdict]}"


def _loads(results: Results) -> str:
    rows = [
        (
            markdown(scenario.name),
            markdown(f"{row.load} {row.endpoint}"),
            f"{row.requests:,}",
            f"{row.failures:,}",
            *(markdown(numbers.quantity(ns / 1e6, "ms")) for ns in (row.p50, row.p95, row.p99)),
            markdown(row.error),
        )
        for scenario in results.scenarios
        for row in scenario.load
    ]
    head = ("scenario", "load", "requests", "failures", "p50", "p95", "p99", "")
    return "### Load by locust (closed loop)\n\n" + _table(head, rows) if rows else ""


def _problems(shown: Sequence[RequirementResult]) -> str:
    lines = [
        _problem(check, decides=check is deciding(result.checks))
        for result in shown
        for check in result.checks
        if check.verdict is not Verdict.PASS
    ]
    return "\n".join(["### What did not hold or could not be told", "", *lines]) if lines else ""


def _problem(check: Check, *, decides: bool) -> str:
    name = markdown(f"{check.requirement} {check.scenario}/{check.name}")
    name = f"**{name}**" if decides else name
    reason = markdown(shorten(check.reason or check.claim, LONGEST))
    return f"- {MARKS[check.verdict]} {name}: {reason}"


def _not_shown(results: Results) -> str:
    names = [r.id for r in results.requirements if r.verdict is Shown.NOT_SHOWN]
    return f"Not shown by this run: {', '.join(names)}." if names else ""


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    if not rows:
        return ""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
