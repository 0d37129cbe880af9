"""The report for people: one HTML file without scripts, fonts or anything from elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from harness.units import NS
from harness.verdict import Verdict
from reports import chart, judge, loads, numbers
from reports.model import Shown
from reports.text import clean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reports.model import Results
    from reports.scenario import Scenario
    from reports.timeline import Timeline

MOST_EVIDENCE = 60  # lines per check; the rest stays in findings.json
GLYPHS = {"pass": "✓", "fail": "✗", "unknown": "?", "not shown": "·"}
SENTENCES = {
    Verdict.PASS: "Every promise that this run checked held.",
    Verdict.FAIL: "At least one promise of the specification was broken.",
    Verdict.UNKNOWN: "No promise was seen broken, but not everything that was checked could be shown to hold.",
}


def render(results: Results, scenarios: Sequence[Scenario]) -> str:
    checks = [c for s in scenarios for c in s.checks]
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            results=results,
            scenarios=scenarios,
            shown=[r for r in results.requirements if r.verdict is not Shown.NOT_SHOWN],
            not_shown=[r for r in results.requirements if r.verdict is Shown.NOT_SHOWN],
            counts=results.counts(),
            sentence=SENTENCES[results.verdict] if checks else "This run checked nothing.",
            unknown=[c for c in checks if c.verdict is Verdict.UNKNOWN],
            other_recoveries=judge.other_recoveries(checks),
            environment=_versions(results, scenarios),
        )
    )


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalize,
    )
    environment.globals.update(
        headline=judge.headline,
        measured=numbers.measured,
        wall_time=numbers.wall_time,
        quantity=numbers.quantity,
        compared=numbers.compared,
        duration=numbers.duration,
        percent=numbers.percent,
        seconds=_seconds,
        ms=_ms,
        draw=_draw,
        glyphs=GLYPHS,
        most_evidence=MOST_EVIDENCE,
    )
    return environment


def _draw(timeline: Timeline, anchor: str) -> Markup:
    return chart.draw(timeline, anchor, loads.panel)


def _finalize(value: Any) -> Any:
    """No character that HTML forbids gets out; what is already markup was cleaned when it was made."""
    return value if isinstance(value, Markup) else clean(value)


def _seconds(ns: int) -> str:
    return f"{ns / NS:,.3f} s"


def _ms(ns: int | None) -> str:
    return numbers.NOTHING if ns is None else numbers.quantity(ns / 1e6, "ms")


def _versions(results: Results, scenarios: Sequence[Scenario]) -> dict[str, str]:
    """The run's environment, then what only histories know of it."""
    known = dict(results.run.environment)
    for scenario in scenarios:
        if scenario.timeline is not None:
            for name, value in scenario.timeline.header.environment.items():
                known.setdefault(name, value)
    return known
