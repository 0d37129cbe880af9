"""What the nodes say of themselves: level, log position, where their stream comes from, each transition with its time."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from harness.history import Probe as ProbeStart
from harness.history import Status, Transition
from harness.probes.http import INVALID, TIMEOUT, Client, HttpFailure
from harness.probes.openloop import all_of, default_limit, record_end
from harness.probes.schedule import Counts, Schedule, phase_of
from harness.target import fill_headers, pointer
from harness.units import Seconds, to_ns

if TYPE_CHECKING:
    import asyncio

    from harness.probes.schedule import Firing
    from harness.probes.site import Site

_MAX_TEXT = 200
_MAX_ITEMS = 20
_MAX_DEPTH = 4


@dataclass(frozen=True, slots=True)
class StatusProbe:
    """Asks each of `nodes` (none named: all that the platform's program runs) each `interval` s."""

    kind: ClassVar[str] = "status"

    name: str = "status"
    nodes: tuple[str, ...] = ()
    interval: Seconds = Seconds(0.1)
    timeout: Seconds = Seconds(0.5)

    def __post_init__(self) -> None:
        if self.interval <= 0:
            raise ValueError("interval must be more than 0")

    async def run(self, site: Site, stop: asyncio.Event) -> None:
        site.target.require("status")
        nodes = self.nodes or tuple(
            node.name for node in site.plan.topology.nodes.values() if not node.is_server
        )
        interval = to_ns(self.interval)
        start = ProbeStart(
            t=site.now(),
            name=self.name,
            kind=self.kind,
            interval=interval,
            target=",".join(nodes),
        )
        site.record(start)
        async with AsyncExitStack() as stack:
            schedules = []
            for node in nodes:
                client = await stack.enter_async_context(site.client(node))
                asking = _Asking(site, client, node, self.timeout)
                schedules.append(
                    Schedule(
                        asking.fire,
                        asking.abandon,
                        interval=interval,
                        start=start.t + phase_of(node, interval),
                        origin_ns=site.origin_ns,
                        limit=default_limit(1 / self.interval, self.timeout),
                    )
                )
            done = await all_of(one.run(stop, self.timeout + 0.5) for one in schedules)
        total = Counts(
            sent=sum(counts.sent for counts in done),
            skipped=sum(counts.skipped for counts in done),
            latest=max((counts.latest for counts in done), default=0),
        )
        record_end(site, self.name, total)


class _Asking:
    """One node, asked again and again."""

    def __init__(self, site: Site, client: Client, node: str, timeout: float) -> None:
        self._site = site
        self._client = client
        self._node = node
        self._timeout = timeout

    def __repr__(self) -> str:
        return f"<_Asking {self._node} {self._client!r}>"

    async def fire(self, _: Firing) -> None:
        self._site.record(await ask_status(self._site, self._client, self._node, self._timeout))

    def abandon(self, _: Firing) -> None:
        self._site.record(Status(t=self._site.now(), node=self._node, ok=False, error=TIMEOUT))


async def ask_status(site: Site, client: Client, node: str, timeout: float) -> Status:  # noqa: ASYNC109 - the client's own timer
    """One question; the answer's `t` is when it came. Never raises what the platform does wrong."""
    how, origin, asked = site.target.status, site.origin_ns, site.now()
    try:
        response = await client.request(
            "GET", how.path, headers=fill_headers(how.headers), timeout=timeout
        )
    except HttpFailure as failure:
        return Status(t=failure.at - origin, node=node, ok=False, error=failure.error)
    at = response.end - origin
    if response.error:
        return Status(t=at, node=node, ok=False, error=response.error)
    try:
        body = msgspec.json.decode(response.body, type=dict[str, Any])
        return _read(site, node, asked, at, body)
    except (msgspec.DecodeError, msgspec.ValidationError):
        return Status(t=at, node=node, ok=False, error=INVALID)


class _RawTransition(msgspec.Struct):
    """A transition as a node tells it; `at` in ns of the monotonic clock."""

    n: int
    at: int
    source: str = msgspec.field(name="from")
    to: str
    reason: str = ""


def _read(site: Site, node: str, asked: int, at: int, body: dict[str, Any]) -> Status:
    how = site.target.status
    position = pointer(how.position)(body)
    told = msgspec.convert(pointer(how.transitions)(body) or [], list[_RawTransition])
    known = {how.role, how.boot, how.level, how.position, how.upstream, how.transitions, "node"}
    return Status(
        t=at,
        node=node,
        ok=True,
        role=_text(pointer(how.role)(body)),
        boot=_text(pointer(how.boot)(body)),
        level=_text(pointer(how.level)(body)),
        version=position if isinstance(position, int) else -1,
        upstream=_text(pointer(how.upstream)(body)),
        transitions=[
            Transition(item.n, item.at - site.origin_ns, item.source, item.to, item.reason)
            for item in told
        ],
        data={key: trim(value) for key, value in body.items() if key not in known},
        asked=asked,
    )


def _text(value: object) -> str:
    return "" if value is None else str(value)


def trim(value: object, depth: int = 0) -> object:
    """A JSON value cut to what a history can keep thousands of: 200 characters, 20 items, four levels."""
    if isinstance(value, str):
        return value if len(value) <= _MAX_TEXT else value[:_MAX_TEXT] + "…"
    if not isinstance(value, dict | list):
        return value
    if depth >= _MAX_DEPTH:
        return "…"
    if isinstance(value, list):
        return [trim(item, depth + 1) for item in value[:_MAX_ITEMS]]
    return {key: trim(value[key], depth + 1) for key in list(value)[:_MAX_ITEMS]}
