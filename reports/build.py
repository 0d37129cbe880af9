"""A run folder in, its reports out. Needs nothing but the folder, so it can be done again elsewhere, a year later."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from reports import html, judge, junit, markdown, scenario
from reports.store import read_run

if TYPE_CHECKING:
    from pathlib import Path

    from reports.model import Results

HTML, JSON, JUNIT, MARKDOWN = "report.html", "results.json", "junit.xml", "report.md"


def make(run_dir: Path) -> Results:
    """Write report.html, results.json, junit.xml and report.md into the run folder.

    A scenario whose files are missing or damaged makes its requirements *unknown*; it never disappears.

    :raises HistoryError: run.json is missing or damaged, or names a folder outside the run folder.
    """
    run = read_run(run_dir)
    taken: set[str] = set()
    scenarios = [scenario.load(run_dir, folder, taken) for folder in run.scenarios]
    checks = [check for s in scenarios for check in s.checks]
    results = judge.results(run, checks, [s.result for s in scenarios])
    (run_dir / JSON).write_bytes(encode(results))
    (run_dir / JUNIT).write_bytes(junit.render(results))
    (run_dir / MARKDOWN).write_text(markdown.render(results), "utf-8")
    (run_dir / HTML).write_text(html.render(results, scenarios), "utf-8")
    return results


def encode(results: Results) -> bytes:
    """`results.json`: UTF-8, indented, with a newline at its end."""
    return msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n"
