"""From a finished history to findings. The same code judges during a run and when a report is made again later."""

from __future__ import annotations

from pathlib import Path

import msgspec

from harness.errors import HistoryError
from harness.history_io import History
from harness.scenario.model import Check, Scenario
from harness.verdict import Finding, Verdict


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """What one scenario showed. Written as findings.json beside the history."""

    name: str
    title: str
    file: str
    requirements: tuple[str, ...]
    wall: float  # s, start-up and judging included
    findings: tuple[Finding, ...]
    error: str = ""

    @property
    def verdict(self) -> Verdict:
        return Verdict.combine([finding.verdict for finding in self.findings])


def judge(scenario: Scenario, folder: Path, wall: float) -> Judged:
    """Judge `folder`/history.jsonl by the scenario's checks.

    A check that breaks on a history can't tell: it says unknown, never pass. A requirement that the scenario names
    and none of its findings speaks of is unknown as well.
    """
    try:
        history = History.read(folder / "history.jsonl")
    except HistoryError as error:
        return unfinished(scenario, str(error), wall)
    findings = [finding for check in scenario.checks for finding in _apply(check, history)]
    shown = {finding.requirement for finding in findings}
    findings += [
        _unknown(requirement, "no check of the scenario speaks of it")
        for requirement in scenario.requirements
        if requirement not in shown
    ]
    return _judged(scenario, wall, tuple(findings), "")


def unfinished(scenario: Scenario, reason: str, wall: float) -> Judged:
    """A scenario that did not run to its end has shown nothing."""
    findings = tuple(_unknown(requirement, reason) for requirement in scenario.requirements)
    return _judged(scenario, wall, findings, reason)


def write_judged(folder: Path, result: Judged) -> None:
    temporary = folder / ".findings.json"
    temporary.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1))
    temporary.replace(folder / "findings.json")


def _apply(check: Check, history: History) -> list[Finding]:
    try:
        found = check(history)
    except Exception as error:  # noqa: BLE001 - any failure of a checker must become "unknown", not a crash or a pass
        reason = f"the check broke: {type(error).__name__}: {error}"
        return [_unknown(check.requirement, reason, check.name)]
    return found or [_unknown(check.requirement, "the check found nothing to judge", check.name)]


def _unknown(requirement: str, reason: str, check: str = "run") -> Finding:
    return Finding(
        check=check,
        requirement=requirement,
        claim="the scenario runs to its end and its checks can judge it",
        verdict=Verdict.UNKNOWN,
        reason=reason,
    )


def _judged(scenario: Scenario, wall: float, findings: tuple[Finding, ...], error: str) -> Judged:
    return Judged(
        name=scenario.name,
        title=scenario.title,
        file=str(scenario.path),
        requirements=scenario.requirements,
        wall=wall,
        findings=findings,
        error=error,
    )
