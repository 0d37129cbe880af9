"""A scenario as data: what runs, what is measured, what happens when, and what is claimed about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

from harness.fault import Fault
from harness.history_io import History
from harness.network.script import Rule
from harness.probes import AnyProbe
from harness.target import Target
from harness.topology import Topology
from harness.units import Seconds
from harness.verdict import Finding


class Check(Protocol):
    """A claim and how to judge it: pure, from the history alone. Concrete ones: harness/checkers."""

    name: ClassVar[str]

    @property
    def requirement(self) -> str: ...

    def __call__(self, history: History) -> list[Finding]: ...


@dataclass(frozen=True, slots=True)
class Tap:
    """A recording proxy on a link, with what it answers itself (nothing: it only records)."""

    link: str
    rules: tuple[Rule, ...] = ()


@dataclass(frozen=True, slots=True)
class Phase:
    """A named part of the timeline; checks refer to it. Lasts until the next phase."""

    name: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Let time pass while the probes measure."""

    duration: Seconds


@dataclass(frozen=True, slots=True)
class Inject:
    """Inject a fault and see that it bit."""

    fault: Fault
    label: str


@dataclass(frozen=True, slots=True)
class Heal:
    """Heal the fault of that label, or "all" that are still in force, latest first."""

    label: str = "all"


@dataclass(frozen=True, slots=True)
class UntilLevel:
    """Wait until the nodes say they are at a level.

    Not reaching it in time is recorded, and the timeline goes on: the checks judge.
    """

    level: str
    nodes: tuple[str, ...]
    within: Seconds = Seconds(30.0)


@dataclass(frozen=True, slots=True)
class UntilStream:
    """Wait until each node's stream comes from one of `sources`; the timeline goes on at the deadline too."""

    nodes: tuple[str, ...]
    sources: tuple[str, ...]
    within: Seconds = Seconds(30.0)


@dataclass(frozen=True, slots=True)
class UntilStatus:
    """Wait until `field` of each node's status (its own, or a dotted path in its data) equals `equals`, or is at least
    `at_least`; the timeline goes on at the deadline too.
    """

    nodes: tuple[str, ...]
    field: str
    equals: Any = None
    at_least: float | None = None
    within: Seconds = Seconds(30.0)


@dataclass(frozen=True, slots=True)
class Script:
    """Give a tap new rules; an empty list makes it pass everything on."""

    link: str
    rules: tuple[Rule, ...] = ()


@dataclass(frozen=True, slots=True)
class Start:
    """Begin probes by name; those that no such step names begin with the timeline."""

    probes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Stop:
    """End probes by name, so that what follows reads a platform at rest."""

    probes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReadBack:
    """Read what the named write probes wrote, once, from the platform's API."""

    of: tuple[str, ...]
    within: Seconds = Seconds(30.0)


@dataclass(frozen=True, slots=True)
class Write:
    """Write flags at once: key to value (boolean, string, number) or to a whole flagd definition."""

    flags: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Call:
    """Make one HTTP request to a node, as an operator would; without a success the run ends.

    With a `label` its answer, or that none came, is recorded for the check `called`, and the timeline goes on.
    `body` is sent as JSON; `{address_of: NODE}` in it is that node's address.
    """

    node: str
    path: str
    method: str = "POST"
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    within: Seconds = Seconds(5.0)
    label: str = ""


@dataclass(frozen=True, slots=True)
class Advance:
    """Move the calendars of `nodes` on, and wait until all that became due by that is done.

    Where it is not in time, that is recorded, and the timeline goes on: the checks judge.
    """

    nodes: tuple[str, ...]
    by: Seconds
    within: Seconds = Seconds(60.0)


@dataclass(frozen=True, slots=True)
class ListObjects:
    """Record what object stores (S3's ListObjectsV2) have below `prefix`."""

    nodes: tuple[str, ...]
    prefix: str = ""
    bucket: str = "backups"
    within: Seconds = Seconds(10.0)


@dataclass(frozen=True, slots=True)
class Fill:
    """Write `flags` made-up flags of `size` bytes each, and wait until every node with levels has them."""

    flags: int
    size: int = 1000
    within: Seconds = Seconds(60.0)

    def __post_init__(self) -> None:
        if self.flags < 1 or self.size < 200:  # noqa: PLR2004 - an empty definition has some 100
            raise ValueError("flags must be at least 1 and size at least 200")


Step = (
    Phase
    | Wait
    | Inject
    | Heal
    | UntilLevel
    | UntilStream
    | UntilStatus
    | Script
    | Start
    | Stop
    | ReadBack
    | Write
    | Advance
    | ListObjects
    | Call
    | Fill
)

STEPS: dict[str, type] = {
    "phase": Phase,
    "wait": Wait,
    "until_level": UntilLevel,
    "until_stream": UntilStream,
    "until_status": UntilStatus,
    "script": Script,
    "start": Start,
    "stop": Stop,
    "read_back": ReadBack,
    "write": Write,
    "advance": Advance,
    "list_objects": ListObjects,
    "call": Call,
    "fill": Fill,
}


@dataclass(frozen=True, slots=True)
class Scenario:
    name: str  # the file's name without its suffix
    title: str
    requirements: tuple[str, ...]
    topology: Topology
    probes: tuple[AnyProbe, ...]
    steps: tuple[Step, ...]
    checks: tuple[Check, ...]
    path: Path
    text: str  # the YAML as it was, kept in the history so that a report can be made again
    taps: tuple[Tap, ...] = ()
    flags: dict[str, Any] = field(default_factory=dict)
    target: Target | None = None
    overrides: tuple[str, ...] = ()
    start_level: str = (
        "HEALTHY"  # what every node with levels must reach before the timeline starts
    )
    lasts: float | None = None  # s, about: so that the longest can start first
    runtime: str = ""  # the only one that it is for, where that is so
    alone: bool = False  # in its wave: its bounds are so narrow that neighbours would show
    # "first": clusters that start beside it would show; "last": what it does would show in others; "": in between.
    turn: Literal["first", "", "last"] = ""

    @property
    def late_probes(self) -> frozenset[str]:
        """Those that a step begins."""
        return frozenset(
            name for step in self.steps if isinstance(step, Start) for name in step.probes
        )

    @property
    def duration(self) -> float:
        """About how long the timeline lasts, s: as the file says, else the sum of its waits."""
        if self.lasts is not None:
            return self.lasts
        return sum(float(step.duration) for step in self.steps if isinstance(step, Wait))
