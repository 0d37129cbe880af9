"""One scenario's folder, read: what was found, what its history shows, and what is wrong with either."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from harness.errors import HistoryError
from harness.history import LoadTotal
from harness.verdict import Verdict
from reports import condense, judge
from reports.model import Check, LoadRow, ScenarioRecord, ScenarioResult, Shown
from reports.store import HISTORY, read_record
from reports.timeline import Timeline

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Scenario:
    """`timeline` is None where the history can't be read; `problem` says what is missing or damaged."""

    result: ScenarioResult
    checks: list[Check]
    timeline: Timeline | None
    problem: str


def load(run_dir: Path, folder: str, taken: set[str]) -> Scenario:
    """Never raises for what a scenario left behind: missing and damaged files make its requirements unknown.

    `taken` are the names of the scenarios before this one; a name that is taken gets the folder added.
    """
    place = run_dir / folder
    story, broken = _timeline(place)
    record, missing = _record(place, folder, story)
    told = record.error  # an error of the timeline is usually that of the record
    problem = "; ".join(p for p in (broken, missing) if p and not (told and told in p))
    if record.name in taken:
        record = msgspec.structs.replace(record, name=f"{record.name} ({folder})")
    taken.add(record.name)
    checks = judge.checks_of(record, problem)
    verdicts = [c.verdict for c in checks]
    if problem or record.error:
        verdicts.append(Verdict.UNKNOWN)
    result = ScenarioResult(
        name=record.name,
        title=record.title or (story.header.title if story else ""),
        file=record.file,
        folder=folder,
        verdict=Shown.combine(verdicts),
        requirements=record.requirements,
        wall=record.wall,
        error="; ".join(dict.fromkeys(t for t in (record.error, problem) if t)),
        history_sha256=_digest(place / HISTORY),
        events=story.events if story else 0,
        checks=len(checks),
        load=_loads(story) if story else [],
    )
    return Scenario(result, checks, story, problem)


def _loads(story: Timeline) -> list[LoadRow]:
    """One row for each kind of request; one that says why for a load without any."""
    return [
        LoadRow(
            load=load.name,
            endpoint=total.name,
            requests=total.requests,
            failures=total.failures,
            unanswered=total.unanswered,
            p50=total.p50,
            p95=total.p95,
            p99=total.p99,
            max=total.worst,
            error=load.error,
        )
        for load in story.loads
        for total in load.totals or [LoadTotal(name="", requests=0)]
    ]


def _timeline(place: Path) -> tuple[Timeline | None, str]:
    try:
        story = condense.read(place / HISTORY)
    except HistoryError as error:
        return None, _relative(error, place)
    if story.ended:
        return story, f"the timeline ended in an error: {story.error}" if story.error else ""
    return story, "the history was cut short: it has no end"


def _record(place: Path, folder: str, story: Timeline | None) -> tuple[ScenarioRecord, str]:
    """Without findings the history's header still knows what the scenario was about."""
    try:
        return read_record(place), ""
    except HistoryError as error:
        name = story.header.scenario if story else folder
        wanted = story.header.requirements if story else []
        return ScenarioRecord(name=name, requirements=wanted), _relative(error, place)


def _relative(error: HistoryError, place: Path) -> str:
    """A report names files inside the run folder: it is read on other machines."""
    return str(error).replace(f"{place}/", "")


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
