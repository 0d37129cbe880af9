"""SVG elements as escaped text, and the few scales a drawing needs. Nothing reaches the page unescaped."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

from reports.text import clean, one_line, shorten

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")
_GLYPH = 6.3  # mean advance of a character at 11 px
_SECOND_STEPS = (
    0.1,
    0.2,
    0.5,
    1,
    2,
    5,
    10,
    15,
    30,
    60,
    120,
    300,
    600,
    900,
    1800,
    3600,
    7200,
    14400,
)


def el(tag: str, *children: Markup | str, **attributes: object) -> Markup:
    """An element. ``class_`` is class, ``_`` in a name is ``-``; None leaves an attribute out; floats are rounded."""
    parts = [
        f' {name.rstrip("_").replace("_", "-")}="{escape(_value(value))}"'
        for name, value in attributes.items()
        if value is not None
    ]
    body = "".join(
        child if isinstance(child, Markup) else escape(clean(child)) for child in children
    )
    head = f"<{tag}{''.join(parts)}"
    return Markup(f"{head}>{body}</{tag}>" if body else f"{head}/>")  # noqa: S704 - escaped just above


def _value(value: object) -> str:
    if isinstance(value, float):
        return num(value)
    return one_line(value)


def num(value: float) -> str:
    """A coordinate: a tenth of a pixel is enough."""
    return f"{value:.1f}".removesuffix(".0")


def join(parts: Iterable[Markup]) -> Markup:
    return Markup("").join(parts)


def text(
    x: float, y: float, content: str, *, width: float | None = None, **attributes: object
) -> Markup:
    """A label, cut with an ellipsis to fit `width` px; nothing where not even two characters fit."""
    line = one_line(content)
    if width is not None:
        fits = int(width / _GLYPH)
        if fits < min(len(line), 2):
            return Markup("")
        line = shorten(line, fits)
    return el("text", line, x=x, y=y, **attributes)


def text_width(content: str) -> float:
    return len(content) * _GLYPH


def title(content: str) -> Markup:
    """The tooltip of the element it is put into."""
    return el("title", one_line(content))


def colour(value: str, default: str = "#7f5f8f") -> str:
    """A colour of a fault; anything that is not ``#rrggbb`` is not a colour."""
    return value if _COLOUR.fullmatch(value) else default


def path(points: Sequence[tuple[float, float] | None]) -> str:
    """The `d` of a line through points; a None interrupts it. A point alone becomes a short dash."""
    parts: list[str] = []
    begun = False
    for n, point in enumerate(points):
        if point is None:
            begun = False
            continue
        parts.append(f"{'L' if begun else 'M'}{num(point[0])} {num(point[1])}")
        alone = not begun and (n + 1 == len(points) or points[n + 1] is None)
        if alone:
            parts.append("h2")
        begun = True
    return "".join(parts)


def time_ticks(begin: float, end: float, most: int = 10) -> list[float]:
    """Round times from `begin` to `end`, in s, at most `most` steps."""
    length = end - begin
    step = next((s for s in _SECOND_STEPS if length / s <= most), length / most)
    first, last = math.ceil(begin / step - 1e-9), math.floor(end / step + 1e-9)
    return [n * step for n in range(first, last + 1)]


def decades(low: float, high: float) -> list[float]:
    """Powers of ten that enclose low to high, one at least above."""
    first = math.floor(math.log10(low))
    last = max(math.ceil(math.log10(high)), first + 1)
    return [10.0**n for n in range(first, last + 1)]


def nice_top(value: float) -> float:
    """The end of a linear axis: 1, 2, 2.5 or 5 times a power of ten, not below `value`."""
    if value <= 0:
        return 1.0
    base = 10.0 ** math.floor(math.log10(value))
    return next(m * base for m in (1, 2, 2.5, 5, 10) if m * base >= value * (1 - 1e-9))
