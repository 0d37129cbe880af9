"""Load beside the open-loop probes: locust's figures by the second, drawn over the same time axis.

Locust's users ask again only after their answer: while the platform stands still they ask nothing, and what they did not ask is in none
of their percentiles (coordinated omission). The open-loop line beside theirs shows how much that hides.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from harness.units import NS
from reports import numbers, svg
from reports.chart import MS, Page, legend, plot, scale, short_time
from reports.svg import el

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from reports.timeline import LoadRun, LoadSpan, Series

RATES, LATENCIES = 60.0, 88.0  # heights
LEAST = 1000  # ns; on a logarithmic scale something must be the least


def panel(page: Page) -> None:
    """Requests and failures per second of each load; below, its latency with that of the open-loop probes of the same kind."""
    for load in page.timeline.loads:
        spans = load.spans()
        if any(span.requests for span in spans):
            _rates(page, load, spans)
            _latencies(page, load, spans)


def _rates(page: Page, load: LoadRun, spans: Sequence[LoadSpan]) -> None:
    page.heading("Load per s", note=load.name)
    top = svg.nice_top(max(span.requests for span in spans))
    bottom = plot(page, RATES)
    scale(page, [(bottom, "0"), (page.y, numbers.plain(top))])

    def at(value: float) -> float:
        return bottom - value / top * RATES

    for name, style in (("failures", "error"), ("requests", "rate k-evaluate")):
        points = [(_x(page, s), at(getattr(s, name))) for s in spans]
        page.add(el("path", svg.title(f"{load.name}: {name} per second"), d=svg.path(points),
                    class_=f"line thin {style}"))  # fmt: skip
    most = max(span.users for span in spans)
    asked, failed = sum(s.requests for s in spans), sum(s.failures for s in spans)
    page.told.append(
        f"Load {load.name}: {asked} requests of up to {most} users, {failed} failures."
    )
    items = [("rate k-evaluate", f"{most} users"), ("error", "failures")]
    legend(page, items, page.y + 42)
    page.y = bottom + 16


def _latencies(page: Page, load: LoadRun, spans: Sequence[LoadSpan]) -> None:
    beside = _open_loop(page, load.kind)
    lines = [
        ("p50", "locust p50", [(_x(page, s), s.p50) for s in spans if s.p50]),
        ("p99", "locust p99", [(_x(page, s), s.p99) for s in spans if s.p99]),
    ]
    if beside is not None:
        seen = [(page.centre(i), v) for i, v in enumerate(beside.p99) if v is not None]
        lines.append(("max", "open loop", seen))
    values = [max(v, LEAST) for _, _, points in lines for _, v in points]
    if not values:
        return
    page.heading("Load's latency", note=load.name)
    bottom = plot(page, LATENCIES)
    at = _logarithmic(page, values, bottom)
    for style, label, points in lines:
        drawn = svg.path([(x, at(v)) for x, v in points])
        page.add(
            el(
                "path",
                svg.title(f"{load.name}: {label} per second"),
                d=drawn,
                class_=f"line {style}",
            )
        )
    legend(page, [(style, label) for style, label, _ in reversed(lines)], page.y + 42)
    page.y = bottom + 16


def _logarithmic(page: Page, values: Sequence[int], bottom: float) -> Callable[[int], float]:
    """The scale, drawn, and where a latency is on it."""
    marks = svg.decades(min(values) / MS, max(values) / MS)
    span = math.log10(marks[-1] / marks[0])

    def at(value: int) -> float:
        return bottom - math.log10(max(value, LEAST) / MS / marks[0]) / span * LATENCIES

    scale(page, [(at(round(m * MS)), short_time(m)) for m in marks])
    return at


def _open_loop(page: Page, kind: str) -> Series | None:
    return next((s for s in page.timeline.series if s.kind == kind), None)


def _x(page: Page, span: LoadSpan) -> float:
    return page.x(span.t - NS / 2)
