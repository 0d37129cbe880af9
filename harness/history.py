"""The history: one append-only JSONL file with everything that was tried, answered, injected and healed.

Every time is `t` in ns since the header's `origin`, on CLOCK_MONOTONIC: one clock for all processes of the machine.
One event a line, written whole by one `write` on an O_APPEND descriptor, so several processes may write one file.
An `Invoke` is written before its request is dispatched.
"""

from __future__ import annotations

import msgspec

SCHEMA = 1


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="e", omit_defaults=True):
    t: int


class Header(Event, frozen=True, tag="header"):
    """First line. `origin` is the monotonic clock in ns at t = 0, `wall` the wall clock then (Unix time, ns)."""

    schema: int
    origin: int
    wall: int
    scenario: str
    run: str
    requirements: list[str] = []
    title: str = ""
    topology: dict[str, object] = {}
    environment: dict[str, str] = {}
    settings: dict[str, object] = {}


class Phase(Event, frozen=True, tag="phase"):
    """The scenario enters a phase ("baseline", "broken", "recovered" …); it lasts until the next one or `End`."""

    name: str


class End(Event, frozen=True, tag="end"):
    """The scenario's timeline is over. A history without it was cut short: every verdict is unknown."""

    error: str = ""


class Probe(Event, frozen=True, tag="probe"):
    """A probe starts: what it promises to send. `interval` in ns between due times (0: not on a schedule)."""

    name: str
    kind: str  # "evaluate", "write", "read", "subscribe", "status", "alerts", "load"
    interval: int = 0
    target: str = ""  # node or endpoint
    group: str = ""  # client group
    budget: int = 0  # ns it may be late before its measurements count as unsound


class ProbeEnd(Event, frozen=True, tag="probe-end"):
    """A probe ends: what it counted itself, against which the history is checked. `skipped`: due, but never sent."""

    name: str
    sent: int = 0
    skipped: int = 0
    latest: int = 0  # ns, the worst lateness


class Invoke(Event, frozen=True, tag="invoke"):
    """A request is about to be sent; `t` is then, `due` when the schedule wanted it."""

    op: int  # unique in the history with `probe`
    probe: str
    kind: str  # "evaluate", "write", "read", "version"
    due: int
    key: str = ""
    value: object = None  # what is written; for an evaluation the context's targetingKey


class Attempt(msgspec.Struct, frozen=True, omit_defaults=True):
    """One try of a request: start and end in ns since origin, "" or an error class (see `Complete.error`)."""

    start: int
    end: int
    error: str = ""


class Complete(Event, frozen=True, tag="complete"):
    """The end of a request. `outcome`: "ok", "fail" (certainly not done), "unknown" (may or may not be done).

    `error`: "", "TIMEOUT", "CONNECTION_REFUSED", "CONNECTION_RESET", "CONNECTION_CLOSED", "SERVICE_UNAVAILABLE" (503),
    "HTTP_<status>", "INVALID" (an answer that can't be read), "UNRESOLVED" (its name has no address).
    `node`, `value`, `variant`, `version`, `level`, `stale`, `emergency` are what an evaluation's answer said, `cache_control`
    and `etag` its headers, and `retry_after` that of a refusal. `cached`: a cache answered, not the platform.
    For a write, `version` is the log position the platform acknowledged it at.
    """

    op: int
    probe: str
    kind: str
    outcome: str
    error: str = ""
    status: int = 0
    key: str = ""
    node: str = ""
    value: object = None
    variant: str = ""
    reason: str = ""
    version: int = -1
    level: str = ""
    stale: bool = False
    emergency: bool = False
    metadata: dict[str, object] = {}
    attempts: list[Attempt] = []
    cache_control: str = ""
    etag: str = ""
    cached: bool = False
    retry_after: str = ""


class Stream(Event, frozen=True, tag="stream"):
    """Something a stream subscriber saw. `what`: "connect" (asked; `id` = Last-Event-ID sent, -1 for none), "open",
    "snapshot", "change", "heartbeat", "prewarm" (of a flag, beside the log), "close" (`error` says why). `id` is the
    event's id (log position).
    """

    probe: str
    what: str
    id: int = -1
    org: str = ""
    key: str = ""
    value: object = None  # the default variant's value of the flag that changed
    at: int = 0  # when the origin committed it, Unix time in ns, as the platform says
    error: str = ""


class Wire(Event, frozen=True, tag="wire"):
    """One exchange a wiretap recorded: `t` = first byte of the request seen; the others in ns, 0 where it never came."""

    link: str
    n: int  # counts exchanges of the link
    connection: int
    method: str
    path: str
    request_end: int = 0
    response_start: int = 0
    end: int = 0
    status: int = 0  # as it was sent to the caller, scripted or real; 0: none
    scripted: str = ""  # the name of the scripted answer, "" when it was passed on
    error: str = ""  # "caller-closed", "upstream-refused", "upstream-closed", "tap-closed" (the run ended), ""
    headers: dict[str, str] = {}  # the few request headers that matter (last-event-id, x-attempt …)


class Status(Event, frozen=True, tag="status"):
    """A node's own status as it answered (`ok`), or that it did not answer (`error`)."""

    node: str
    ok: bool
    error: str = ""
    role: str = ""
    level: str = ""
    version: int = -1  # log position applied
    upstream: str = ""  # the node its stream comes from, "" when disconnected
    transitions: list[Transition] = []  # all since the node's start
    boot: str = ""  # changes with each start of the node
    data: dict[str, object] = {}
    asked: int = -1  # when it was asked, ns; -1: not known


class Transition(msgspec.Struct, frozen=True, omit_defaults=True):
    """A level transition as the node itself recorded it. `t` in ns since the history's origin."""

    n: int
    t: int
    source: str
    to: str
    reason: str = ""


class Alert(Event, frozen=True, tag="alert"):
    """An alert that reached the operators; `t` when the sink received it."""

    name: str
    sender: str = ""
    data: dict[str, object] = {}


class Recommendation(Event, frozen=True, tag="recommendation"):
    """The platform recommends to add something (`kind`) because `metric` of `node` is `value`, above `threshold`; or it
    withdraws that. `state`: "raised", "withdrawn". `t`: when it said so, by its own clock; `seen` when it was read.
    """

    n: int
    kind: str
    node: str
    metric: str
    value: float
    threshold: float
    state: str
    seen: int = 0


class Resolved(Event, frozen=True, tag="resolved"):
    """A client learnt, or failed to learn, where a name leads; `asked` is when it began to ask.

    `nodes`: of each address, "" for one that is no node which the name may lead to. `ttl` in ns from `t`. `server`: the
    node that answered. `error`: "", "NXDOMAIN", "NODATA", "INVALID" (it leads out of the platform); where no server answered
    "TIMEOUT", "REFUSED", or what the last one said. `stale`: then what was known goes on, though its TTL is over.
    """

    asked: int
    probe: str
    name: str
    addresses: list[str] = []
    nodes: list[str] = []
    ttl: int = 0
    server: str = ""
    error: str = ""
    stale: bool = False


class FaultEvent(Event, frozen=True, tag="fault"):
    """A step in the life of a fault. `stage`: "inject" (about to), "injected", "verified" (`bit` and `seen` say),
    "heal" (about to), "healed", "heal-verified", "failed". `planned` is when the scenario wanted it.
    """

    fault: int  # counts faults of the scenario
    name: str  # the fault's kind: "crash" …
    stage: str
    targets: list[str] = []
    planned: int = 0
    bit: bool = False
    seen: str = ""
    colour: str = ""
    label: str = ""


class Crowd(Event, frozen=True, tag="crowd"):
    """What a crowd of `streams` of a node saw from `began` to `t`, when `open` of them were open.

    `changes`: events of that name that came to any of them; `gaps` and `repeats`: those that did not follow on the one before.
    `first`, `last`: the lowest and the highest log position that one of them has. `p50`, `p99`, `max`: from a change's commit
    to its arrival, ms, of `measured` changes.
    """

    node: str
    began: int
    streams: int
    open: int
    connects: int
    closes: int
    changes: int
    gaps: int
    repeats: int
    first: int
    last: int
    measured: int = 0
    p50: float = 0.0
    p99: float = 0.0
    max: float = 0.0
    slow: int = 0  # of them, that did not read for a while


class Processes(Event, frozen=True, tag="processes"):
    """The processes of a node as the kernel showed them, or why they could not be seen (`error`).

    `memory`: the proportional share (PSS, bytes) of each, -1 where it can't be read. `cpu`: the CPU time (ns) that each has
    used so far.
    """

    node: str
    pids: list[int] = []
    names: list[str] = []
    memory: list[int] = []
    cpu: list[int] = []
    error: str = ""


class Filled(Event, frozen=True, tag="filled"):
    """So many flags were made up and written, `size` bytes of definitions in all; acknowledged, and at every node, at `t`."""

    flags: int
    size: int


class LoadSecond(Event, frozen=True, tag="load-second"):
    """What a load probe's users had answered in the second until `t`: locust's figures, closed-loop. Latencies in ns; `late`: by how
    much locust itself was. Two events for one second are to be added.
    """

    probe: str
    requests: int
    failures: int = 0
    users: int = 0
    p50: int = 0
    p95: int = 0
    p99: int = 0
    late: int = 0


class LoadTotal(msgspec.Struct, frozen=True, omit_defaults=True):
    """One kind of request of a load, over the whole run. `unanswered`: of the failures, those without any answer. Latencies in ns."""

    name: str
    requests: int
    failures: int = 0
    unanswered: int = 0
    p50: int = 0
    p95: int = 0
    p99: int = 0
    worst: int = 0


class LoadEnd(Event, frozen=True, tag="load-end"):
    """A load probe's locust is done, `t`: all its requests are. `start`: before the first of them. `error`: why its totals can't be
    relied on, "" where all its worker processes gave theirs.
    """

    probe: str
    start: int
    totals: list[LoadTotal] = []
    error: str = ""


class Note(Event, frozen=True, tag="note"):
    """Anything a reader of the timeline should see: a wiretap's script changed, a wait that was met."""

    text: str
    source: str = ""


class Stall(Event, frozen=True, tag="stall"):
    """The machine did not let an idle process of the platform's priority run until `lasted` ns after it was due; `t` is when
    it came at last.
    """

    lasted: int


class Clock(Event, frozen=True, tag="clock"):
    """The calendars of `nodes` were moved on by `by` ns, by `total` ns since the run began. `settled`: by `t` they said that
    what had become due was done; else `seen` says what they said.
    """

    nodes: list[str]
    by: int
    total: int
    settled: bool
    seen: str = ""


class Stored(msgspec.Struct, frozen=True, omit_defaults=True):
    """One object, as a store lists it: `size` in bytes."""

    key: str
    size: int
    etag: str = ""


class Objects(Event, frozen=True, tag="objects"):
    """What an object store itself lists below `prefix` (`ok`), or that it did not (`error`)."""

    node: str
    prefix: str
    ok: bool
    error: str = ""
    objects: list[Stored] = []


class Call(Event, frozen=True, tag="call"):
    """A call that the scenario made: sent at `sent` (ns), answered at `t`. `error` as in `Complete`; `data`: the JSON of the
    answer.
    """

    label: str
    node: str
    sent: int
    status: int = 0
    error: str = ""
    data: object = None


AnyEvent = (
    Header
    | Phase
    | End
    | Probe
    | ProbeEnd
    | Invoke
    | Complete
    | Stream
    | Wire
    | Status
    | Alert
    | Recommendation
    | Resolved
    | FaultEvent
    | Crowd
    | Processes
    | Filled
    | LoadSecond
    | LoadEnd
    | Note
    | Stall
    | Clock
    | Objects
    | Call
)
