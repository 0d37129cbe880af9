"""The drawing of a scenario: panels over one time axis, as a single SVG that needs no script."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from markupsafe import Markup

from harness.units import NS, to_s
from reports import numbers, svg
from reports.svg import el
from reports.text import one_line
from reports.timeline import BAD_TICK, NO_ANSWER, RETRY_TICK, TICKS, Span, Timeline

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from reports.timeline import FaultBand, Mark, Series, WireLane

WIDTH, LEFT, RIGHT = 960.0, 132.0, 14.0
PLOT = WIDTH - LEFT - RIGHT
LANE, GAP = 17.0, 16.0
MOST_LANES = 16  # nodes and links each; what is left out is told
MOST_LAGS = 6
ALERT_ROWS = 3
MS = NS // 1000
LEVELS = {
    "HEALTHY": ("healthy", "healthy"),
    "DEGRADED_L1": ("l1", "L1"),
    "DEGRADED_L2": ("l2", "L2"),
    "EMERGENCY": ("emergency", "emergency"),
    NO_ANSWER: ("down", "no answer"),
}


def draw(timeline: Timeline, anchor: str, *more: Callable[[Page], None]) -> Markup:
    """The whole timeline of a scenario, with `more` panels. `anchor` makes the ids of its title and description unique on the page."""
    page = Page(timeline)
    for panel in (
        _phases,
        _faults,
        _rates,
        _latencies,
        *more,
        _levels,
        _lags,
        _alerts,
        _wires,
    ):
        panel(page)
    return page.finish(anchor)


@dataclass
class Page:
    """Panels stacked from the top; `y` is where the next one begins."""

    timeline: Timeline
    y: float = 0.0
    parts: list[Markup] = field(default_factory=list)
    told: list[str] = field(
        default_factory=list
    )  # of the description, for who can't see the drawing

    def x(self, t: float) -> float:
        begin = self.timeline.begin
        share = (t - begin) / max(self.timeline.duration - begin, 1)
        return LEFT + min(max(share, 0.0), 1.0) * PLOT

    def centre(self, index: int) -> float:
        start, end = self.timeline.span_of(index)
        return self.x((start + end) / 2)

    def add(self, *parts: Markup) -> None:
        self.parts.extend(parts)

    def heading(self, name: str, *, dy: float = 12.0, note: str = "") -> None:
        self.add(svg.text(0, self.y + dy, name, class_="head", width=LEFT - 8))
        if note:
            self.add(svg.text(0, self.y + dy + 14, note, class_="note", width=LEFT - 40))

    def finish(self, anchor: str) -> Markup:
        self.y += 4
        body = self.y
        back = [_background(self, body), _axis(self, body)]
        height = body + 32
        scenario = one_line(self.timeline.header.scenario)
        return el(
            "svg",
            el("title", f"Timeline of {scenario}", id=f"{anchor}-title"),
            el("desc", " ".join(self.told), id=f"{anchor}-desc"),
            *back,
            *self.parts,
            viewBox=f"0 0 {svg.num(WIDTH)} {svg.num(height)}",
            role="img",
            class_="timeline",
            aria_labelledby=f"{anchor}-title {anchor}-desc",
        )


def _background(page: Page, height: float) -> Markup:
    """Phases as alternating areas, faults as bands through all panels."""
    areas = [
        el("rect", x=page.x(s.start), y=0.0, width=page.x(s.end) - page.x(s.start), height=height,
           class_=f"phase p{n % 2}")
        for n, s in enumerate(page.timeline.phases)
    ]  # fmt: skip
    borders = [
        el("line", x1=page.x(s.start), x2=page.x(s.start), y1=0.0, y2=height, class_="border")
        for s in page.timeline.phases
        if s.start > page.timeline.begin
    ]
    bands = [_band(page, b, height) for b in page.timeline.faults]
    return svg.join([*areas, *bands, *borders])


def _extent(page: Page, band: FaultBand) -> tuple[float, float]:
    end = next((t for t in (band.healed, band.heal) if t is not None), page.timeline.duration)
    left = page.x(band.start or 0)
    return left, max(page.x(end) - left, 2.0)


def _band(page: Page, band: FaultBand, height: float) -> Markup:
    left, width = _extent(page, band)
    return el("rect", x=left, y=0.0, width=width, height=height, class_="band",
              fill=svg.colour(band.colour))  # fmt: skip


def _axis(page: Page, y: float) -> Markup:
    parts = [el("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="axis")]
    for tick in svg.time_ticks(to_s(page.timeline.begin), to_s(page.timeline.duration)):
        x = page.x(tick * NS)
        anchor = "end" if x > WIDTH - RIGHT - 12 else "middle"
        parts += [
            el("line", x1=x, x2=x, y1=0.0, y2=y + 4, class_="grid"),
            svg.text(x, y + 16, numbers.plain(tick), class_="tick", text_anchor=anchor),
        ]
    parts.append(svg.text(0, y + 16, "seconds", class_="note"))
    return svg.join(parts)


def _phases(page: Page) -> None:
    if not page.timeline.phases:
        return
    page.heading("Phases")
    for span in page.timeline.phases:
        left, right = page.x(span.start), page.x(span.end)
        label = svg.text(left + 4, page.y + 12, span.name, width=right - left - 6, class_="label")
        page.add(el("g", svg.title(_spelled(span.name, span)), label))
    page.told.append(
        "Phases: " + "; ".join(_spelled(s.name, s) for s in page.timeline.phases) + "."
    )
    page.y += 18


def _spelled(what: str, span: Span) -> str:
    return f"{what}, {to_s(span.start):.1f} s to {to_s(span.end):.1f} s"


def _faults(page: Page) -> None:
    bands = page.timeline.faults
    if not bands:
        return
    page.heading("Faults")
    for band in bands[:MOST_LANES]:
        page.add(_fault_bar(page, band))
        page.told.append(f"Fault {_life(band)}.")
        page.y += LANE
    _left_out(page, len(bands) - MOST_LANES, "faults")
    page.y += GAP / 2


def _fault_bar(page: Page, band: FaultBand) -> Markup:
    left, width = _extent(page, band)
    sure = band.bit and not band.failed
    label = one_line(band.label) + ("" if sure else " (not shown to have bitten)")
    bar = el("rect", x=left, y=page.y + 2, width=width, height=LANE - 4, rx=2,
             fill=svg.colour(band.colour), class_="bar" if sure else "bar unsure")  # fmt: skip
    parts = [svg.title(_life(band)), bar]
    return el("g", *parts, _fault_label(page.y + 13, left, width, label))


def _fault_label(y: float, left: float, width: float, label: str) -> Markup:
    """Beside the bar, after it if there is room; else on it, with a halo that is legible on any colour."""
    after, before = WIDTH - RIGHT - left - width, left - LEFT
    wanted = svg.text_width(label) + 8
    if after >= wanted or (after > before and after > wanted / 2):
        return svg.text(left + width + 5, y, label, width=after - 6, class_="label")
    if before >= wanted:
        return svg.text(left - 5, y, label, class_="label", text_anchor="end")
    return svg.text(left + 5, y, label, width=max(width, after) - 8, class_="label halo")


def _life(band: FaultBand) -> str:
    steps = [("injected", band.injected), ("verified", band.verified), ("healed", band.healed)]
    times = ", ".join(f"{name} {to_s(t):.3f} s" for name, t in steps if t is not None)
    bit = {True: "it bit", False: "it did not bite", None: "not verified"}[band.bit]
    parts = [band.label, times, bit, band.seen, band.failed and f"failed: {band.failed}"]
    return one_line("; ".join(p for p in parts if p))


def plot(page: Page, height: float) -> float:
    """The frame of a panel; returns the y of its bottom."""
    page.add(
        el("rect", x=LEFT, y=page.y, width=PLOT, height=height, class_="frame"),
    )
    return page.y + height


def scale(page: Page, values: Sequence[tuple[float, str]]) -> None:
    """Labels and lines of a vertical scale: (y, text)."""
    for y, label in values:
        page.add(
            el("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid"),
            svg.text(LEFT - 5, y + 3.5, label, class_="tick", text_anchor="end"),
        )


def legend(page: Page, items: Sequence[tuple[str, str]], y: float) -> None:
    """(class, label) from top to bottom at the left; a short sample of the line before each."""
    for n, (style, label) in enumerate(items):
        at = y + n * 14
        page.add(
            el("line", x1=0.0, x2=16.0, y1=at - 4, y2=at - 4, class_=f"line {style}"),
            svg.text(21, at, label, class_="note", width=LEFT - 46),
        )


def _rates(page: Page) -> None:
    series = page.timeline.series
    if not series:
        return
    page.heading("Requests per s")
    height = 74.0
    top = svg.nice_top(max(max(_per_second(page, s.sent)) for s in series))
    bottom = plot(page, height)
    scale(page, [(bottom, "0"), (page.y, numbers.plain(top))])

    def at(value: float) -> float:
        return bottom - value / top * height

    for s in series:
        both = [e + r for e, r in zip(s.errors, s.refused, strict=True)]
        for style, counts, what in (
            ("refused", both, "refused or lost"),
            ("errors", s.errors, "errors"),
        ):
            if bars := _error_bars(page, counts, at, bottom):
                tip = f"{s.kind}: {sum(counts)} {what}"
                page.add(el("path", svg.title(tip), d=bars, class_=style))
    for s in series:
        points = [(page.centre(i), at(v)) for i, v in enumerate(_per_second(page, s.sent))]
        page.add(el("path", svg.title(f"{s.kind}: sent per second"), d=svg.path(points),
                    class_=f"line rate {_kind(s)}"))  # fmt: skip
        page.told.append(
            f"{s.kind}: {sum(s.sent)} sent, {sum(s.errors)} errors, {sum(s.refused)} answered with HTTP 4xx."
        )
    items = [(f"rate {_kind(s)}", f"{s.kind} sent") for s in series]
    if any(sum(s.refused) for s in series):
        items.append(("refused", "HTTP 4xx"))
    legend(page, [*items, ("error", "errors")], page.y + 28)
    page.y = bottom + GAP


def _kind(series: Series) -> str:
    return {"write": "k-write", "read": "k-read"}.get(series.kind, "k-evaluate")


def _per_second(page: Page, counts: Sequence[int]) -> list[float]:
    spans = (page.timeline.span_of(i) for i in range(len(counts)))
    return [n / to_s(end - start) for n, (start, end) in zip(counts, spans, strict=True)]


def _error_bars(
    page: Page, counts: Sequence[int], at: Callable[[float], float], bottom: float
) -> str:
    """One bar per bin with errors, at least two pixels high: a single lost request must be seen."""
    parts = []
    for i, rate in enumerate(_per_second(page, counts)):
        if rate:
            left, right = (page.x(t) for t in page.timeline.span_of(i))
            y = min(at(rate), bottom - 2)
            parts.append(
                f"M{svg.num(left)} {svg.num(bottom)}V{svg.num(y)}H{svg.num(max(right, left + 1.5))}V{svg.num(bottom)}z"
            )
    return "".join(parts)


def _latencies(page: Page) -> None:
    for s in page.timeline.series:
        if any(v is not None for v in s.worst):
            _latency(page, s)


def _latency(page: Page, series: Series) -> None:
    values = [max(v, 1000) for v in [*series.p50, *series.worst] if v is not None]
    marks = svg.decades(min(values) / MS, max(values) / MS)
    page.heading("Latency", note=series.kind)
    height = 88.0
    bottom = plot(page, height)
    span = math.log10(marks[-1] / marks[0])

    def at(value: int) -> float:
        return bottom - math.log10(max(value, 1000) / MS / marks[0]) / span * height

    scale(page, [(at(round(m * MS)), short_time(m)) for m in marks])
    for style, line in (("max", series.worst), ("p99", series.p99), ("p50", series.p50)):
        points = [None if v is None else (page.centre(i), at(v)) for i, v in enumerate(line)]
        page.add(el("path", svg.title(f"{series.kind}: {style} per bin"), d=svg.path(points),
                    class_=f"line {style}"))  # fmt: skip
    legend(page, [("max", "max"), ("p99", "p99"), ("p50", "p50")], page.y + 42)
    page.y = bottom + GAP


def short_time(ms: float) -> str:
    if ms >= 1000:  # noqa: PLR2004 - a second
        return f"{numbers.plain(ms / 1000)} s"
    return f"{numbers.plain(ms)} ms" if ms >= 1 else f"{numbers.plain(ms * 1000)} µs"


def _levels(page: Page) -> None:
    levels = page.timeline.levels
    if not levels:
        return
    page.heading("Level by node", dy=11)
    page.y += 16
    lively = sorted(levels, key=lambda node: (-len(levels[node]), node))[:MOST_LANES]
    for node in sorted(lively):
        page.add(
            svg.text(LEFT - 6, page.y + 12, node, width=LEFT - 10, class_="lane", text_anchor="end")
        )
        page.add(*(_level(page, node, span) for span in _visible(page, levels[node])))
        steps = ", ".join(f"{s.name} from {to_s(s.start):.1f} s" for s in levels[node][:12])
        page.told.append(f"Level of {node}: {steps}.")
        page.y += LANE
    _left_out(page, len(levels) - MOST_LANES, "nodes with fewer changes")
    page.y += GAP / 2


def _visible(page: Page, spans: list[Span]) -> list[Span]:
    """Spans at least half a pixel apart, of those nearer the longest: a node that flaps must not make the page grow."""
    seen: list[Span] = []
    for span in spans:
        if span.end <= page.timeline.begin:
            continue
        if not seen or page.x(span.start) - page.x(seen[-1].start) >= 0.5:  # noqa: PLR2004 - px
            seen.append(span)
        else:
            known = seen[-1]
            longer = span if span.end - span.start > known.end - known.start else known
            seen[-1] = Span(longer.name, known.start, span.end)
    return seen


def _level(page: Page, node: str, span: Span) -> Markup:
    style, label = LEVELS.get(span.name, ("other", span.name))
    left, right = page.x(span.start), page.x(span.end)
    return el(
        "g",
        svg.title(_spelled(f"{node}: {span.name}", span)),
        el("rect", x=left, y=page.y + 1, width=max(right - left, 1.0), height=LANE - 2,
           class_=f"level {style}"),
        svg.text(left + 4, page.y + 12.5, label, width=right - left - 5, class_="on-level"),
    )  # fmt: skip


def _lags(page: Page) -> None:
    lags = page.timeline.lag
    if not lags:
        return
    worst = {
        node: max((v for v in line if v is not None), default=0) for node, line in lags.items()
    }
    page.heading("Version lag", note="changes behind")
    height = 60.0
    top = svg.nice_top(max([*worst.values(), 1]))
    bottom = plot(page, height)
    scale(page, [(bottom, "0"), (page.y, numbers.plain(top))])
    chosen = sorted(worst, key=lambda node: (-worst[node], node))[:MOST_LAGS]
    for n, node in enumerate(chosen):
        points = _held(page, lags[node], lambda v: bottom - v / top * height)
        tip = f"{node}: at most {worst[node]} changes behind"
        page.add(el("path", svg.title(tip), d=svg.path(points), class_=f"line lag c{n}"))
        page.told.append(f"{tip}.")
    page.y = bottom + 13
    x = LEFT
    for n, node in enumerate(chosen):
        label = f"{one_line(node)[:20]} ≤ {worst[node]}"
        if x + svg.text_width(label) + 24 > WIDTH:
            break
        page.add(
            el("line", x1=x, x2=x + 16, y1=page.y - 4, y2=page.y - 4, class_=f"line lag c{n}"),
            svg.text(x + 20, page.y, label, class_="note"),
        )
        x += svg.text_width(label) + 34
    page.y += 6
    _left_out(page, len(lags) - MOST_LAGS, "nodes with less lag")
    page.y += GAP / 2


def _held(
    page: Page, line: Sequence[int | None], at: Callable[[float], float]
) -> list[tuple[float, float] | None]:
    """Points of the bins that have a sample; a gap where a node was not heard of for two seconds or three bins."""
    patience = max(3, math.ceil(2 * NS / page.timeline.width))
    points: list[tuple[float, float] | None] = []
    silent = 0
    for i, value in enumerate(line):
        if value is None:
            silent += 1
            continue
        if points and silent >= patience:
            points.append(None)
        points.append((page.centre(i), at(value)))
        silent = 0
    return points


def _alerts(page: Page) -> None:
    alerts = page.timeline.alerts
    if not alerts:
        return
    page.heading("Alerts")
    ends = [0.0] * ALERT_ROWS  # where the last label of each row ends
    for mark in alerts:
        x = page.x(mark.t)
        label = one_line(mark.text)
        row = next((r for r, end in enumerate(ends) if end <= x), None)
        page.add(_alert(page, mark, x, label, row))
        if row is not None:
            ends[row] = x + svg.text_width(label) + 18
    page.told.append(
        "Alerts: " + "; ".join(f"{m.text} at {to_s(m.t):.1f} s" for m in alerts[:12]) + "."
    )
    page.y += LANE * max(1, sum(end > 0 for end in ends)) + GAP / 2


def _alert(page: Page, mark: Mark, x: float, label: str, row: int | None) -> Markup:
    y = page.y + LANE * (row or 0)
    tip = f"{label} from {mark.source or 'unknown'} at {to_s(mark.t):.3f} s"
    parts = [
        svg.title(tip),
        el("path", d=f"M{svg.num(x)} {svg.num(y + 3)}l4 8h-8z", class_="alert"),
    ]
    if row is not None:
        room = WIDTH - x - 8
        if room > svg.text_width(label):
            parts.append(svg.text(x + 7, y + 12, label, class_="label"))
        else:
            parts.append(svg.text(x - 7, y + 12, label, class_="label", text_anchor="end"))
    return el("g", *parts)


def _wires(page: Page) -> None:
    wires = page.timeline.wires
    if not wires:
        return
    page.heading("Calls on the wire", dy=11)
    _wire_legend(page)
    page.y += 16
    for lane in wires[:MOST_LANES]:
        tip = f"{lane.link}: {lane.calls} calls, {lane.retries} retries, {lane.bad} failed"
        label = svg.text(
            LEFT - 6, page.y + 12, lane.link, width=LEFT - 6, class_="lane", text_anchor="end"
        )
        page.add(el("g", svg.title(tip), label, *_ticks(page, lane)))
        page.told.append(f"{tip}.")
        page.y += LANE
    _left_out(page, len(wires) - MOST_LANES, "links with fewer failures")
    page.y += GAP / 2


def _wire_legend(page: Page) -> None:
    x = LEFT
    for style, label in (("ok", "call"), ("retry", "retry"), ("bad", "failed call")):
        page.add(
            el("path", d=_tick(x + 2, page.y + 2, style), class_=f"wire {style}"),
            svg.text(x + 9, page.y + 11, label, class_="note"),
        )
        x += svg.text_width(label) + 26


def _tick(x: float, y: float, style: str) -> str:
    """Told apart by height too: a call is short, a retry taller, a failure as tall as the lane."""
    height = {"ok": 5, "retry": 8, "bad": 12}[style]
    return f"M{svg.num(x)} {svg.num(y + 12)}v-{height}"


def _ticks(page: Page, lane: WireLane) -> list[Markup]:
    styles = {BAD_TICK: "bad", RETRY_TICK: "retry"}
    lines: dict[str, list[str]] = {}
    for column, kind in sorted(lane.ticks.items()):
        style = styles.get(kind, "ok")
        lines.setdefault(style, []).append(_tick(LEFT + column / TICKS * PLOT, page.y + 2, style))
    return [el("path", d="".join(d), class_=f"wire {style}") for style, d in lines.items()]


def _left_out(page: Page, count: int, what: str) -> None:
    if count > 0:
        page.add(svg.text(LEFT, page.y + 12, f"and {count} {what}", class_="note"))
        page.y += LANE
