"""What the drawing and the tables of a scenario are made from: a history condensed, as plain data.

All times are ns since the history's origin, all latencies ns from *due* to answered.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from harness.history import Header, LoadTotal

TICKS = 900  # columns into which calls on the wire are drawn
NO_ANSWER = "no answer"
PROPAGATION = "propagation"
OK_TICK, RETRY_TICK, BAD_TICK = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time with a name: a phase, a level."""

    name: str
    start: int
    end: int


@dataclass(slots=True)
class FaultBand:
    """One fault's life. Times are None where that stage never came."""

    number: int
    name: str
    label: str
    colour: str
    targets: list[str]
    inject: int | None = None
    injected: int | None = None
    verified: int | None = None
    heal: int | None = None
    healed: int | None = None
    bit: bool | None = None  # None: nobody looked
    heal_shown: bool | None = None
    seen: str = ""
    failed: str = ""

    @property
    def start(self) -> int | None:
        return self.inject if self.inject is not None else self.injected


@dataclass(frozen=True, slots=True)
class Mark:
    """Something at a point in time: an alert or a note."""

    t: int
    text: str
    source: str


@dataclass(slots=True)
class Series:
    """One kind of request over the bins. A percentile is None where a bin has no answered request."""

    kind: str
    sent: list[int]
    errors: list[int]  # without what `refused` counts
    refused: list[int]  # answered with HTTP 4xx: the platform was there and said no
    p50: list[int | None] = field(default_factory=list)
    p99: list[int | None] = field(default_factory=list)
    worst: list[int | None] = field(default_factory=list)


@dataclass(slots=True)
class LatencyRow:
    """Percentiles (nearest rank) of one kind in one phase; None where there are too few samples to tell."""

    phase: str
    kind: str
    count: int
    errors: int
    unanswered: int
    p50: int | None
    p90: int | None
    p99: int | None
    p999: int | None
    worst: int | None
    by_error: dict[str, int]


@dataclass(slots=True)
class ProbeRow:
    """What a probe promised and what it did. `latest` is the worst lateness seen or told, in ns."""

    name: str
    kind: str = ""
    target: str = ""
    group: str = ""
    interval: int = 0
    budget: int = 0
    sent: int = 0
    told: int | None = None
    skipped: int = 0
    late: int = 0
    latest: int = 0

    @property
    def sound(self) -> bool:
        """Whether it kept its schedule within its budget and its own count agrees with the history."""
        punctual = not self.budget or self.latest <= self.budget
        return punctual and not self.skipped and self.told in (None, self.sent)


@dataclass(slots=True)
class LoadSpan:
    """One second of a load, until `t`. Percentiles are 0 where nothing was answered."""

    t: int
    requests: int = 0
    failures: int = 0
    users: int = 0
    p50: int = 0
    p99: int = 0


@dataclass(slots=True)
class LoadRun:
    """What locust made of one load. `kind`: of its requests, "evaluate", "write" …; `error`: why its totals can't be relied on."""

    name: str
    seconds: dict[int, LoadSpan] = field(default_factory=dict)
    totals: list[LoadTotal] = field(default_factory=list)
    error: str = ""

    @property
    def kind(self) -> str:
        return self.totals[0].name if self.totals else ""

    def spans(self) -> list[LoadSpan]:
        return [self.seconds[t] for t in sorted(self.seconds)]


@dataclass(slots=True)
class WireLane:
    """Calls on one link: how many, and which columns of the drawing have one (with its gravest kind)."""

    link: str
    calls: int = 0
    retries: int = 0
    bad: int = 0
    ticks: dict[int, int] = field(default_factory=dict)


@dataclass(slots=True)
class Timeline:
    header: Header
    begin: int  # where the drawing begins: the first phase; what is before it is start-up
    duration: int  # when the timeline ended
    width: int  # of a bin; the last one takes the remainder too
    bins: int
    events: int = 0
    ended: bool = False
    error: str = ""
    truncated: bool = False
    phases: list[Span] = field(default_factory=list)
    faults: list[FaultBand] = field(default_factory=list)
    series: list[Series] = field(default_factory=list)
    latencies: list[LatencyRow] = field(default_factory=list)
    levels: dict[str, list[Span]] = field(default_factory=dict)
    lag: dict[str, list[int | None]] = field(default_factory=dict)
    alerts: list[Mark] = field(default_factory=list)
    notes: list[Mark] = field(default_factory=list)
    left_out: int = 0  # alerts and notes beyond MOST_NOTES
    wires: list[WireLane] = field(default_factory=list)
    probes: list[ProbeRow] = field(default_factory=list)
    loads: list[LoadRun] = field(default_factory=list)

    def span_of(self, index: int) -> tuple[int, int]:
        """Start and end of a bin."""
        start = self.begin + index * self.width
        return start, self.duration if index == self.bins - 1 else start + self.width

    def __repr__(self) -> str:
        return f"<Timeline {self.header.scenario!r} {self.events} events in {self.bins} bins>"
