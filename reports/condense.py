"""A history in one pass, as small as a drawing of it: binned rates and latencies, bands, lanes and percentiles.

Memory is bounded by the requests' latencies (16 bytes each) and what is in flight; the events themselves are not kept.
"""

from __future__ import annotations

import mmap
from array import array
from bisect import bisect_right
from collections import defaultdict
from typing import TYPE_CHECKING

from harness.errors import HistoryError
from harness.history import (
    Alert,
    AnyEvent,
    Complete,
    End,
    Event,
    FaultEvent,
    Header,
    Invoke,
    LoadEnd,
    LoadSecond,
    Note,
    Probe,
    ProbeEnd,
    Resolved,
    Status,
    Stream,
    Wire,
)
from harness.units import NS
from reports.reader import Landmarks, Reader
from reports.timeline import (
    BAD_TICK,
    NO_ANSWER,
    OK_TICK,
    PROPAGATION,
    RETRY_TICK,
    TICKS,
    FaultBand,
    LatencyRow,
    LoadRun,
    LoadSpan,
    Mark,
    ProbeRow,
    Series,
    Span,
    Timeline,
    WireLane,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MOST_BINS = 240
MOST_NOTES = 200  # alerts and notes each; the rest is counted
WIDTHS = [
    round(NS * s)
    for s in (
        0.1,
        0.2,
        0.25,
        0.5,
        1,
        1.5,
        2,
        2.5,
        3,
        4,
        5,
        7.5,
        10,
        20,
        30,
        60,
        120,
        300,
        600,
        1800,
        3600,
    )
]


def read(path: Path) -> Timeline:
    """Read and condense a history.

    :raises HistoryError: no such file, no header, another schema version, or a damaged line that is not the last;
        the message starts with ``file:line``.
    """
    try:
        with (
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            reader = Reader(path, data)
            condenser = _Condenser(reader.header, reader.landmarks())
            condenser.feed(reader.events())
            return condenser.finish(truncated=reader.truncated)
    except OSError as error:
        raise HistoryError(f"{path}: can't read a history: {error.strerror}") from error
    except ValueError as error:  # mmap of an empty file
        raise HistoryError(f"{path}:1: no header") from error


class _Condenser:
    """Takes events in the order of their lines, which for one process is the order of time."""

    def __init__(self, header: Header, landmarks: Landmarks) -> None:
        duration = landmarks.duration
        begin = landmarks.phases[0].t if landmarks.phases else 0
        shown = max(duration - begin, 1)
        width = next((w for w in WIDTHS if shown <= w * MOST_BINS), shown // MOST_BINS)
        self.begin, self.width, self.last_bin = begin, width, max(shown // width, 1) - 1
        self.timeline = Timeline(header, begin, duration, width, self.last_bin + 1)
        starts = [p.t for p in landmarks.phases]
        self.timeline.phases = [
            Span(p.name, p.t, end)
            for p, end in zip(landmarks.phases, [*starts[1:], duration], strict=False)
        ]
        self.starts = starts
        self.requests = _Requests(self)
        self.nodes = _Nodes(self)
        self.faults: dict[int, FaultBand] = {}
        self.wires: dict[str, WireLane] = {}
        self.probes: dict[str, ProbeRow] = {}
        self.loads: dict[str, LoadRun] = {}
        self.leads: dict[tuple[str, str], str] = {}  # where a probe's name led last
        self.acknowledged = -1  # the newest log position a write was acknowledged at
        self.takes: dict[type[Event], Callable[..., None]] = {
            Invoke: self.requests.invoke,
            Complete: self.requests.complete,
            Stream: self.stream,
            Wire: self.wire,
            Status: self.nodes.status,
            Alert: self.alert,
            Resolved: self.resolved,
            FaultEvent: self.fault,
            Note: self.note,
            Probe: self.probe,
            ProbeEnd: self.probe_end,
            LoadSecond: self.load_second,
            LoadEnd: self.load_end,
            End: self.end,
        }

    def bin(self, t: int) -> int:
        """The bin of a time; times outside the drawing belong to its first or last bin."""
        return min(max((t - self.begin) // self.width, 0), self.last_bin)

    def phase(self, t: int) -> str:
        at = bisect_right(self.starts, t) - 1
        return self.timeline.phases[at].name if at >= 0 else ""

    def feed(self, events: Iterator[AnyEvent]) -> None:
        takes, count = self.takes, 0
        for event in events:
            count += 1
            take = takes.get(type(event))
            if take is not None:
                take(event)
        self.timeline.events = count

    def finish(self, *, truncated: bool) -> Timeline:
        timeline = self.timeline
        timeline.truncated = truncated
        timeline.faults = [b for b in self.faults.values() if b.start is not None]
        timeline.series, timeline.latencies = self.requests.finish()
        timeline.levels, timeline.lag = self.nodes.finish()
        timeline.wires = sorted(self.wires.values(), key=lambda w: (-w.bad, -w.retries, w.link))
        timeline.probes = sorted(self.probes.values(), key=lambda p: p.name)
        timeline.loads = list(self.loads.values())
        timeline.alerts.sort(key=lambda m: m.t)
        timeline.notes.sort(key=lambda m: m.t)
        return timeline

    def end(self, event: End) -> None:
        self.timeline.ended = True
        self.timeline.error = event.error

    def alert(self, event: Alert) -> None:
        self._mark(self.timeline.alerts, Mark(event.t, event.name, event.sender))

    def resolved(self, event: Resolved) -> None:
        """Only where it changes: clients ask again and again."""
        leads = ", ".join(node or "?" for node in event.nodes) or event.error or "nowhere"
        if self.leads.get((event.probe, event.name), leads) != leads:
            text = f"{event.name} leads to {leads}"
            self._mark(self.timeline.notes, Mark(event.t, text, event.probe))
        self.leads[event.probe, event.name] = leads

    def note(self, event: Note) -> None:
        self._mark(self.timeline.notes, Mark(event.t, event.text, event.source))

    def _mark(self, marks: list[Mark], mark: Mark) -> None:
        if len(marks) < MOST_NOTES:
            marks.append(mark)
        else:
            self.timeline.left_out += 1

    def fault(self, event: FaultEvent) -> None:
        band = self.faults.get(event.fault)
        if band is None:
            label = event.label or f"{event.name} {', '.join(event.targets)}".strip()
            band = FaultBand(event.fault, event.name, label, event.colour, event.targets)
            self.faults[event.fault] = band
        _stage(band, event)

    def wire(self, event: Wire) -> None:
        lane = self.wires.get(event.link)
        if lane is None:
            lane = self.wires[event.link] = WireLane(event.link)
        retry = event.headers.get("x-attempt", "1") not in ("", "0", "1")
        bad = bool(event.error) or event.status == 0 or event.status >= 500  # noqa: PLR2004 - HTTP
        lane.calls += 1
        lane.retries += retry
        lane.bad += bad
        if event.t < self.begin:
            return
        shown = max(self.timeline.duration - self.begin, 1)
        column = min((event.t - self.begin) * TICKS // shown, TICKS - 1)
        kind = BAD_TICK if bad else RETRY_TICK if retry else OK_TICK
        lane.ticks[column] = max(lane.ticks.get(column, 0), kind)

    def stream(self, event: Stream) -> None:
        if event.id >= 0 and event.what in ("snapshot", "change", "heartbeat"):
            self.nodes.position(event.probe, event.t, event.id, self.acknowledged)
        if event.what == "change" and event.at:
            header = self.timeline.header
            delay = header.wall + event.t - event.at
            self.requests.delays[self.phase(event.t)].append(max(delay, 0))

    def probe(self, event: Probe) -> None:
        row = self.probe_row(event.name)
        row.kind, row.target, row.group = event.kind, event.target, event.group
        row.interval, row.budget = event.interval, event.budget

    def probe_end(self, event: ProbeEnd) -> None:
        row = self.probe_row(event.name)
        row.told, row.skipped = event.sent, event.skipped
        row.latest = max(row.latest, event.latest)

    def load_second(self, event: LoadSecond) -> None:
        """Reports of one second that came apart are added; the slower one's percentiles stay."""
        seconds = self.loads.setdefault(event.probe, LoadRun(event.probe)).seconds
        span = seconds.setdefault(event.t, LoadSpan(event.t))
        span.requests += event.requests
        span.failures += event.failures
        span.users = max(span.users, event.users)
        span.p50, span.p99 = max(span.p50, event.p50), max(span.p99, event.p99)

    def load_end(self, event: LoadEnd) -> None:
        load = self.loads.setdefault(event.probe, LoadRun(event.probe))
        load.totals, load.error = event.totals, event.error
        self.probe_row(event.probe).sent = sum(total.requests for total in event.totals)

    def probe_row(self, name: str) -> ProbeRow:
        row = self.probes.get(name)
        if row is None:
            row = self.probes[name] = ProbeRow(name)
        return row


def _stage(band: FaultBand, event: FaultEvent) -> None:
    match event.stage:
        case "inject":
            band.inject = event.t
        case "injected":
            band.injected = event.t
        case "verified":
            band.verified, band.bit, band.seen = event.t, event.bit, event.seen
        case "heal":
            band.heal = event.t
        case "healed":
            band.healed = event.t
        case "heal-verified":
            band.heal_shown = event.bit
        case "failed":
            band.failed = event.seen or "failed"


class _Tally:
    """One kind of request in one phase."""

    __slots__ = ("answered", "errors", "latencies", "unanswered")

    def __init__(self) -> None:
        self.latencies = array("q")  # of what was answered well
        self.errors: dict[str, int] = defaultdict(int)
        self.answered = 0
        self.unanswered = 0


class _Requests:
    """Pairs what was asked with what was answered."""

    def __init__(self, parent: _Condenser) -> None:
        self.parent = parent
        self.open: dict[tuple[str, int], tuple[str, int, int]] = {}
        bins = parent.timeline.bins
        self.series: dict[str, Series] = {}
        self.bins: dict[str, list[array[int]]] = {}
        self.tallies: dict[tuple[str, str], _Tally] = {}
        self.delays: dict[str, array[int]] = defaultdict(lambda: array("q"))
        self._bins = bins

    def of_kind(self, kind: str) -> Series:
        series = self.series.get(kind)
        if series is None:
            series = self.series[kind] = Series(
                kind, [0] * self._bins, [0] * self._bins, [0] * self._bins
            )
            self.bins[kind] = [array("q") for _ in range(self._bins)]
        return series

    def tally(self, phase: str, kind: str) -> _Tally:
        tally = self.tallies.get((phase, kind))
        if tally is None:
            tally = self.tallies[phase, kind] = _Tally()
        return tally

    def invoke(self, event: Invoke) -> None:
        parent = self.parent
        due, kind = event.due, event.kind
        self.open[event.probe, event.op] = (kind, due, parent.acknowledged)
        series = self.of_kind(kind)
        if due >= parent.begin:
            series.sent[parent.bin(due)] += 1
        row = parent.probe_row(event.probe)
        row.sent += 1
        late = event.t - due
        row.latest = max(row.latest, late)
        if row.budget and late > row.budget:
            row.late += 1

    def complete(self, event: Complete) -> None:
        parent = self.parent
        known = self.open.pop((event.probe, event.op), None)
        if known is None:
            return
        kind, due, acknowledged = known
        bin_, tally = parent.bin(due), self.tally(parent.phase(due), kind)
        tally.answered += 1
        if event.outcome == "ok":
            latency = event.t - due
            tally.latencies.append(latency)
            if due >= parent.begin:
                self.bins[kind][bin_].append(latency)
        else:
            tally.errors[event.error or event.outcome] += 1
            series = self.series[kind]
            lost = series.refused if event.error.startswith("HTTP_4") else series.errors
            lost[bin_] += due >= parent.begin
        if event.version >= 0:
            if kind == "write":
                parent.acknowledged = max(parent.acknowledged, event.version)
            elif event.node:
                parent.nodes.position(event.node, event.t, event.version, acknowledged)
        if event.level and event.node:
            parent.nodes.answered(event.node, event.t, event.level)

    def finish(self) -> tuple[list[Series], list[LatencyRow]]:
        for kind, due, _ in self.open.values():
            self.tally(self.parent.phase(due), kind).unanswered += 1
            self.series[kind].errors[self.parent.bin(due)] += due >= self.parent.begin
        for kind, series in self.series.items():
            for values in self.bins[kind]:
                ranked = sorted(values)
                series.p50.append(percentile(ranked, 0.5, least=1))
                series.p99.append(percentile(ranked, 0.99, least=1))
                series.worst.append(ranked[-1] if ranked else None)
        order = {span.name: n for n, span in reversed(list(enumerate(self.parent.timeline.phases)))}
        rows = [_row(phase, kind, tally) for (phase, kind), tally in self.tallies.items()]
        rows += [_row(phase, PROPAGATION, _delays(values)) for phase, values in self.delays.items()]
        rows.sort(key=lambda r: (order.get(r.phase, -1), r.kind))
        return sorted(self.series.values(), key=lambda s: s.kind), rows


def _delays(values: array[int]) -> _Tally:
    tally = _Tally()
    tally.latencies, tally.answered = values, len(values)
    return tally


def _row(phase: str, kind: str, tally: _Tally) -> LatencyRow:
    ranked = sorted(tally.latencies)
    return LatencyRow(
        phase=phase,
        kind=kind,
        count=tally.answered + tally.unanswered,
        errors=sum(tally.errors.values()),
        unanswered=tally.unanswered,
        p50=percentile(ranked, 0.5),
        p90=percentile(ranked, 0.9),
        p99=percentile(ranked, 0.99),
        p999=percentile(ranked, 0.999),
        worst=ranked[-1] if ranked else None,
        by_error=dict(sorted(tally.errors.items())),
    )


def percentile(ranked: list[int], share: float, least: int | None = None) -> int | None:
    """Nearest rank. None with fewer than `least` samples: p99 of 20 samples would only be another name for the worst."""
    if len(ranked) < (least if least is not None else round(1 / (1 - share))) or not ranked:
        return None
    return ranked[min(-int(-share * len(ranked) // 1), len(ranked)) - 1]


class _Nodes:
    """What each node said of itself: its level over time and its position in the log."""

    def __init__(self, parent: _Condenser) -> None:
        self.parent = parent
        self.samples: dict[str, list[tuple[int, str]]] = {}
        self.answers: dict[str, list[tuple[int, str]]] = {}
        self.recorded: dict[tuple[str, str, int], tuple[int, str]] = {}
        self.lag: dict[str, list[int | None]] = {}

    def status(self, event: Status) -> None:
        level = event.level if event.ok else NO_ANSWER
        if level:
            _append(self.samples.setdefault(event.node, []), event.t, level)
        for step in event.transitions:
            self.recorded[event.node, event.boot, step.n] = (step.t, step.to)
        if event.ok and event.version >= 0:
            self.position(event.node, event.t, event.version, self.parent.acknowledged)

    def answered(self, node: str, t: int, level: str) -> None:
        points = self.answers.get(node)
        if points is None:
            points = self.answers[node] = []
        if not points or points[-1][1] != level:
            points.append((t, level))

    def position(self, node: str, t: int, version: int, acknowledged: int) -> None:
        """How far a node was behind the writes acknowledged when it was asked; the worst of a bin is kept."""
        if acknowledged < 0 or t < self.parent.begin:
            return
        bins = self.lag.get(node)
        if bins is None:
            bins = self.lag[node] = [None] * self.parent.timeline.bins
        at, behind = self.parent.bin(t), max(acknowledged - version, 0)
        known = bins[at]
        if known is None or behind > known:
            bins[at] = behind

    def finish(self) -> tuple[dict[str, list[Span]], dict[str, list[int | None]]]:
        points = {**self.answers, **{n: p for n, p in self.samples.items() if _has_level(p)}}
        for (node, _, _), step in self.recorded.items():
            points.setdefault(node, []).append(step)
        end = self.parent.timeline.duration
        levels = {node: _spans(sorted(points[node]), end) for node in sorted(points)}
        return levels, {node: self.lag[node] for node in sorted(self.lag)}


def _append(points: list[tuple[int, str]], t: int, level: str) -> None:
    if not points or points[-1][1] != level:
        points.append((t, level))


def _has_level(points: list[tuple[int, str]]) -> bool:
    return any(level != NO_ANSWER for _, level in points)


def _spans(points: list[tuple[int, str]], end: int) -> list[Span]:
    """Levels as stretches of time; points that repeat the level before them change nothing."""
    spans: list[Span] = []
    for t, level in points:
        start = max(t, 0)
        if spans and spans[-1].name == level:
            continue
        if spans:
            spans[-1] = Span(spans[-1].name, spans[-1].start, start)
        spans.append(Span(level, start, end))
    return [s for s in spans if s.end > s.start]
