"""Lines for a terminal: one per requirement as a run goes, and a table at its end."""

from __future__ import annotations

import os
import shutil
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from harness.verdict import Verdict
from reports import judge, numbers
from reports.model import Check, RequirementResult, Results, Shown
from reports.text import one_line, shorten

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.requirements import Requirement
    from harness.verdict import Finding

_COLOURS = {Shown.PASS: "32", Shown.FAIL: "31", Shown.UNKNOWN: "33", Shown.NOT_SHOWN: "2"}
_GLYPHS = {Shown.PASS: "✓", Shown.FAIL: "✗", Shown.UNKNOWN: "?", Shown.NOT_SHOWN: "·"}
_ASCII_GLYPHS = {Shown.PASS: "+", Shown.FAIL: "x", Shown.UNKNOWN: "?", Shown.NOT_SHOWN: "."}
_ASCII = str.maketrans(
    {"±": "+/-", "≤": "<=", "≥": ">=", "≠": "!=", "×": "x", "—": "-", "–": "-", "…": "~", "→": "->",  # noqa: RUF001
     "µ": "u", "─": "-", "·": "."}
)  # fmt: skip
NARROWEST, WIDEST = 40, 200
_HEAD = ("id", "verdict", "measured", "scenario", "target")
_LEAST = (2, 9, 8, 10, 16)  # characters below which a column is left out
_GUTTER = 2
MOST_REASONS = 5  # per requirement; the report has all


@dataclass(frozen=True, slots=True)
class Style:
    """What a terminal can show: colours, Unicode, and how many columns."""

    colour: bool = False
    unicode: bool = True
    width: int = 100

    @classmethod
    def of(cls, stream: TextIO, environ: Mapping[str, str] = os.environ) -> Style:
        """As `stream` allows: colours only on a terminal that is not dumb and without NO_COLOR."""
        terminal = stream.isatty()
        plain = bool(environ.get("NO_COLOR")) or environ.get("TERM") == "dumb"
        encoding = (getattr(stream, "encoding", None) or "ascii").lower().replace("_", "-")
        columns = shutil.get_terminal_size((100, 24)).columns if terminal else 100
        return cls(
            colour=terminal and not plain,
            unicode=encoding in ("utf-8", "utf8", "utf-8-sig"),
            width=min(max(columns, NARROWEST), WIDEST),
        )

    def paint(self, text: str, verdict: Shown) -> str:
        return f"\x1b[{_COLOURS[verdict]}m{text}\x1b[0m" if self.colour else text

    def spell(self, text: object) -> str:
        """One line that this terminal can print."""
        line = one_line(text)
        if self.unicode:
            return line
        return line.translate(_ASCII).encode("ascii", "replace").decode("ascii")

    def verdict(self, verdict: Shown, width: int = 0) -> str:
        glyph = (_GLYPHS if self.unicode else _ASCII_GLYPHS)[verdict]
        return self.paint(f"{glyph} {verdict.value}".ljust(width), verdict)

    def cut(self, text: str, width: int) -> str:
        return shorten(text, width, "…" if self.unicode else "~")


def requirement_line(requirement: Requirement, findings: Sequence[Finding], style: Style) -> str:
    """``✓ pass      S2  PoPs of a failed hub move …  RTO 3.204 s ± 0.006 s  (target RTO < 1 min)``, cut to the width.

    For use as a run goes on: `findings` are those on this requirement so far.
    """
    result = judge.requirement_result(requirement, [Check.of(f, "") for f in findings])
    title = style.cut(style.spell(result.title), max(style.width // 2 - 12, 12))
    words = [f"{result.id:<2}  {title}"]
    figure = judge.headline(result)
    if figure != numbers.NOTHING:
        words.append(style.spell(figure))
    if reason := _reason(result):
        words.append(style.spell(reason))
    elif result.target:
        words.append(style.spell(f"(target {result.target})"))
    return f"{style.verdict(result.verdict, 11)} {style.cut('  '.join(words), style.width - 12)}"


def _reason(result: RequirementResult) -> str:
    """Why it did not pass: the reason of the check that decided."""
    decided = judge.deciding(result.checks)
    return decided.reason if decided and decided.verdict is not Verdict.PASS else ""


def table(results: Results, style: Style) -> str:
    """All that was shown, what was not in one line, and the verdict of the run last, where the eye rests."""
    shown = [r for r in results.requirements if r.verdict is not Shown.NOT_SHOWN]
    missing = [r.id for r in results.requirements if r.verdict is Shown.NOT_SHOWN]
    lines = _rows(shown, style) if shown else []
    lines += _reasons(shown, style)
    if missing:
        lines += ["", *_wrapped("not shown: ", missing, style)]
    counts = results.counts()
    told = ", ".join(
        f"{counts[v]} {v.value}" for v in (Shown.PASS, Shown.FAIL, Shown.UNKNOWN) if counts[v]
    )
    verdict = Shown(results.verdict)
    summary = f"{told or 'nothing shown'} (exit code {results.exit_code})"
    fits = len(verdict.value) + len(summary) + 4 <= style.width
    lines += ["", f"{style.verdict(verdict)}{'  ' if fits else chr(10)}{summary}"]
    return "\n".join(lines)


def _reasons(shown: Sequence[RequirementResult], style: Style) -> list[str]:
    """Every check that did not pass, in full over as many lines as it takes: what an engineer asks for next."""
    lines = []
    for result in shown:
        bad = list({_told(c): c for c in result.checks if c.verdict is not Verdict.PASS}.values())
        for check in bad[:MOST_REASONS]:
            text = style.spell(f"{result.id}  {_told(check)}")
            first, *more = textwrap.wrap(
                text, style.width, subsequent_indent="    ", break_on_hyphens=False
            )
            lines += [style.paint(first, Shown(check.verdict)), *more]
        if len(bad) > MOST_REASONS:
            lines.append(f"{result.id}  and {len(bad) - MOST_REASONS} more, in the report")
    return ["", *lines] if lines else []


def _told(check: Check) -> str:
    about = f"{check.name}: {check.subject}" if check.subject else check.name
    return f"{check.scenario}, {about}: {check.reason or check.claim}"


def _rows(shown: Sequence[RequirementResult], style: Style) -> list[str]:
    cells = [_cells(r, style) for r in shown]
    widths = _widths([_HEAD, *cells], style.width)
    rule = ("─" if style.unicode else "-") * (sum(widths) + _GUTTER * (len(widths) - 1))
    lines = [_line(_HEAD, widths, style), rule[: style.width]]
    return lines + [
        _line(row, widths, style, r.verdict) for r, row in zip(shown, cells, strict=True)
    ]


def _widths(rows: Sequence[Sequence[str]], width: int) -> list[int]:
    """What is too wide is taken from the columns of prose, scenario and target; the figures come before them."""
    widest = [max(len(row[i]) for row in rows) for i in range(len(_HEAD))]
    widths: list[int] = []
    for wanted, least in zip(widest, _LEAST, strict=True):
        left = width - sum(widths) - _GUTTER * len(widths)
        if left < min(wanted, least):
            break  # a column of a few characters would say nothing
        widths.append(min(wanted, left))
    return widths


def _cells(result: RequirementResult, style: Style) -> tuple[str, ...]:
    glyph = (_GLYPHS if style.unicode else _ASCII_GLYPHS)[result.verdict]
    return (
        style.spell(result.id),
        f"{glyph} {result.verdict.value}",
        style.spell(judge.headline(result)),
        style.spell(", ".join(dict.fromkeys(c.scenario for c in result.checks))),
        style.spell(result.target),
    )


def _line(
    row: Sequence[str], widths: Sequence[int], style: Style, verdict: Shown | None = None
) -> str:
    cells = [style.cut(c, w).ljust(w) for c, w in zip(row, widths, strict=False)]
    if verdict is not None:
        cells[1] = style.paint(cells[1], verdict)
    return "  ".join(cells).rstrip()


def _wrapped(head: str, names: Sequence[str], style: Style) -> list[str]:
    lines = [head.rstrip()]
    for name in names:
        if len(lines[-1]) + len(name) + 1 > style.width:
            lines.append(" " * (len(head) - 1))
        lines[-1] += f" {name}"
    return lines
