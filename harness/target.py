"""What a suite may ask of a platform, as plain data. The defaults are the contract in docs/architecture.md.

A target file points the same suites at another platform: templates say how to ask, dotted pointers where in a JSON
answer a thing is found ("metadata.version", "items.0.name"; "" for: not there).
In templates ``{org}``, ``{key}``, ``{user}``, ``{context}``, ``{n}`` are replaced; other braces stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote

from harness.errors import SquallError
from harness.units import Seconds

if TYPE_CHECKING:
    from collections.abc import Callable

    Getter = Callable[[object], object]

CAPABILITIES = (
    *("evaluate", "write", "read", "subscribe", "status", "alerts", "clock", "recommendations"),
    "versions",
)


def _no_headers() -> dict[str, str]:
    return {}


def _org_header() -> dict[str, str]:
    return {"X-Org-Id": "{org}"}


def _json_headers() -> dict[str, str]:
    return {"Content-Type": "application/json"}


def _org_json_headers() -> dict[str, str]:
    return {"Content-Type": "application/json", "X-Org-Id": "{org}"}


@dataclass(frozen=True, slots=True)
class Evaluate:
    """How one flag is evaluated for one user, and where the answer says what."""

    method: str = "POST"
    path: str = "/ofrep/v1/evaluate/flags/{key}"
    headers: dict[str, str] = field(default_factory=_org_json_headers)
    body: str = '{"context":{context}}'
    value: str = "value"
    variant: str = "variant"
    reason: str = "reason"
    error_code: str = "errorCode"  # becomes `reason` where the answer is an error
    metadata: str = "metadata"
    node: str = "metadata.node"
    level: str = "metadata.level"
    version: str = "metadata.version"
    stale: str = "metadata.stale_warning"
    emergency: str = "metadata.emergency_mode"


@dataclass(frozen=True, slots=True)
class Write:
    """How a flag is given the value n, and where the answer acknowledges the position.

    `seed`: how a whole flagd definition is written, ``{definition}``.
    """

    method: str = "PUT"
    path: str = "/v1/orgs/{org}/flags/{key}"
    headers: dict[str, str] = field(default_factory=_json_headers)
    body: str = '{"state":"ENABLED","variants":{"v":{n}},"defaultVariant":"v"}'
    seed: str = "{definition}"
    position: str = "seq"


@dataclass(frozen=True, slots=True)
class Read:
    """How a flag written by `Write` is read back. A 404 means that the platform does not have it."""

    method: str = "GET"
    path: str = "/v1/orgs/{org}/flags/{key}"
    headers: dict[str, str] = field(default_factory=_no_headers)
    value: str = "flag.variants.v"
    position: str = "seq"


@dataclass(frozen=True, slots=True)
class Versions:
    """How the version of a flag at log position ``{n}`` is read, and where its definition and its value are in the answer."""

    method: str = "GET"
    path: str = "/v1/orgs/{org}/flags/{key}/versions/{n}"
    headers: dict[str, str] = field(default_factory=_no_headers)
    definition: str = "flag"
    value: str = "flag.variants.v"


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Where changes are streamed, and how long silence lasts until the connection counts as dead, s.

    `org_headers`: how a subscriber says which organisation it is of.
    """

    path: str = "/stream"
    headers: dict[str, str] = field(default_factory=_no_headers)
    org_headers: dict[str, str] = field(default_factory=_org_header)
    silence: Seconds = Seconds(3.0)


@dataclass(frozen=True, slots=True)
class StatusQuery:
    """Where a node tells of itself."""

    path: str = "/status"
    headers: dict[str, str] = field(default_factory=_no_headers)
    role: str = "role"
    boot: str = "boot"
    level: str = "level"
    position: str = "seq"
    upstream: str = "upstream"
    transitions: str = "transitions"


@dataclass(frozen=True, slots=True)
class AlertsQuery:
    """Where alerts that reached the operators are listed; ``{n}`` is the number of the last one known."""

    path: str = "/alerts?since={n}"
    headers: dict[str, str] = field(default_factory=_no_headers)
    alerts: str = "alerts"


@dataclass(frozen=True, slots=True)
class RecommendationsQuery:
    """Where a node that watches the others' load says what to add; ``{n}`` is the number of the last entry known."""

    path: str = "/recommendations?since={n}"
    headers: dict[str, str] = field(default_factory=_no_headers)
    recommendations: str = "recommendations"


@dataclass(frozen=True, slots=True)
class ClockControl:
    """How a node's calendar is moved on by ``{n}`` s, and where its status says that what became due is done."""

    method: str = "POST"
    path: str = "/clock"
    headers: dict[str, str] = field(default_factory=_json_headers)
    body: str = '{"advance_s":{n}}'
    settled: str = "settled"


@dataclass(frozen=True, slots=True)
class Target:
    """A platform as suites see it."""

    name: str = "reference"
    evaluate: Evaluate = field(default_factory=Evaluate)
    write: Write = field(default_factory=Write)
    read: Read = field(default_factory=Read)
    subscribe: Subscribe = field(default_factory=Subscribe)
    status: StatusQuery = field(default_factory=StatusQuery)
    alerts: AlertsQuery = field(default_factory=AlertsQuery)
    clock: ClockControl = field(default_factory=ClockControl)
    versions: Versions = field(default_factory=Versions)
    recommendations: RecommendationsQuery = field(default_factory=RecommendationsQuery)
    capabilities: tuple[str, ...] = CAPABILITIES

    def __post_init__(self) -> None:
        for name in self.capabilities:
            if name not in CAPABILITIES:
                raise ValueError(f"unknown capability '{name}' (known: {', '.join(CAPABILITIES)})")

    def require(self, *capabilities: str) -> None:
        """Raise SquallError, naming the first capability that this platform has not."""
        for name in capabilities:
            if name not in self.capabilities:
                raise SquallError(f"target {self.name} can't do '{name}'")


def fill(template: str, **values: str) -> str:
    """Replace ``{name}`` by its value, verbatim, in one pass; all other braces stay."""
    parts = template.split("{")
    done = [parts[0]]
    for part in parts[1:]:
        name, closed, rest = part.partition("}")
        done.append(values[name] + rest if closed and name in values else "{" + part)
    return "".join(done)


def fill_path(template: str, **values: str) -> str:
    """The same for a path: the values are percent-encoded."""
    return fill(template, **{name: quote(value, safe="") for name, value in values.items()})


def fill_headers(headers: dict[str, str], **values: str) -> dict[str, str]:
    """The same for header values. Raises ValueError where one would break out of its line."""
    filled = {name: fill(value, **values) for name, value in headers.items()}
    for name, value in filled.items():
        if any(c in name + value for c in "\r\n\0"):
            raise ValueError(f"header {name!r} contains a line break")
    return filled


def pointer(path: str) -> Getter:
    """A function that follows a dotted pointer through a JSON value; None where there is nothing."""
    steps = tuple(path.split(".")) if path else ()

    def get(value: object) -> object:
        if not steps:
            return None
        for step in steps:
            if isinstance(value, dict):
                value = value.get(step)
            elif isinstance(value, list) and step.isdigit() and int(step) < len(value):
                value = value[int(step)]
            else:
                return None
        return value

    return get
