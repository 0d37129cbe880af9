"""JUnit XML: a test case per finding. An unknown is an error, never skipped: what was not shown must not look green."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from harness.units import to_s
from harness.verdict import Verdict
from reports import numbers
from reports.text import clean, one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reports.model import Check, Results, ScenarioResult


def render(results: Results) -> bytes:
    """The document, UTF-8. Suites are scenarios; ``classname`` is the requirement, ``name`` scenario/check."""
    root = ET.Element("testsuites", _attributes(name="squall", time=f"{results.run.wall:.3f}"))
    checks = [c for r in results.requirements for c in r.checks]
    _count(root, checks)
    for scenario in results.scenarios:
        mine = [c for c in checks if c.scenario == scenario.name]
        root.append(_suite(results, scenario, mine))
    ET.indent(root)
    document: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return document + b"\n"


def _suite(results: Results, scenario: ScenarioResult, checks: Sequence[Check]) -> ET.Element:
    suite = ET.Element("testsuite", _attributes(name=scenario.name, time=f"{scenario.wall:.3f}"))
    if results.run.started:
        suite.set("timestamp", datetime.fromtimestamp(results.run.started, UTC).isoformat())
    _count(suite, checks)
    for check in checks:
        suite.append(_case(check, scenario.file))
    return suite


def _count(element: ET.Element, checks: Sequence[Check]) -> None:
    element.set("tests", str(len(checks)))
    element.set("failures", str(sum(c.verdict is Verdict.FAIL for c in checks)))
    element.set("errors", str(sum(c.verdict is Verdict.UNKNOWN for c in checks)))
    element.set("skipped", "0")


def _case(check: Check, file: str) -> ET.Element:
    name = "/".join(one_line(part) for part in (check.scenario, check.name, check.subject) if part)
    case = ET.Element("testcase", _attributes(classname=check.requirement, name=name, file=file))
    if check.verdict is Verdict.PASS:
        ET.SubElement(case, "system-out").text = _text(check)
        return case
    tag = "failure" if check.verdict is Verdict.FAIL else "error"
    message = check.reason or check.claim
    problem = ET.SubElement(case, tag, _attributes(message=message, type=check.verdict.value))
    problem.text = _text(check)
    return case


def _text(check: Check) -> str:
    lines = [f"claim: {check.claim}"]
    if check.value is not None:
        lines.append(f"measured: {numbers.measured(check.value, check.error, check.unit)}")
    if check.bound is not None:
        lines.append(f"bound: {numbers.compared(check.relation, check.bound, check.unit)}")
    if check.reason:
        lines.append(f"reason: {check.reason}")
    lines += [f"{to_s(e.t):.3f} s: {e.text}" for e in check.evidence]
    return clean("\n".join(lines))


def _attributes(**values: str) -> dict[str, str]:
    return {name: one_line(value) for name, value in values.items() if value}
