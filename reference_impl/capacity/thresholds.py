"""SCALING_THRESHOLDS: when the platform says that it needs another stream server, hub or shard. Pure.

A figure that jumps to and fro says nothing: it must stay above its threshold for `hold` before it is told, and below a
lower mark for as long before that is taken back.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Final

import msgspec

from reference_impl.config import Positive

TB: Final = 10**12  # bytes


class Kind(StrEnum):
    ADD_STREAM_SERVER = "add_stream_server"
    ADD_HUB = "add_hub"
    ADD_SHARD = "add_shard"


class State(StrEnum):
    RAISED = "raised"
    WITHDRAWN = "withdrawn"


class StreamLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Connections of one server; shares of its core and of its memory."""

    connections: Positive = 10_000
    cpu: Positive = 0.7
    memory: Positive = 0.8


class HubLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """PoPs of one hub, and the p99 of the time that its news take to them, in ms."""

    pops: Positive = 50
    latency_p99_ms: Positive = 100


class ShardLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Queries each second, and bytes, of one shard."""

    queries: Positive = 50_000
    storage: Positive = TB


class PolicySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`hold`: s that a threshold must be crossed before it is said. `clear`: withdrawn below this share of it."""

    hold: Positive = 60.0
    clear: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.9
    stream: StreamLimits = StreamLimits()
    hub: HubLimits = HubLimits()
    shard: ShardLimits = ShardLimits()


class Watch:
    """One figure of one node against its threshold."""

    def __init__(self, limit: float, hold: float, clear: float) -> None:
        self.limit = limit
        self.raised = False
        self._hold = hold
        self._low = limit * clear
        self._since: float | None = None  # it has been where it must be for a change

    def __repr__(self) -> str:
        return f"<Watch {'raised' if self.raised else 'quiet'} limit={self.limit:g} since={self._since}>"

    def see(self, at: float, value: float | None) -> State | None:
        """The figure at `at` (s, never less than before); what is to be said of it now, if anything.

        None, a figure that nobody knows, proves neither: what had begun begins again.
        """
        if value is None or not self._turns(value):
            self._since = None
            return None
        if self._since is None:
            self._since = at
        if at - self._since < self._hold:
            return None
        self._since = None
        self.raised = not self.raised
        return State.RAISED if self.raised else State.WITHDRAWN

    def _turns(self, value: float) -> bool:
        return value < self._low if self.raised else value > self.limit


class Crossing(msgspec.Struct, frozen=True):
    """What is to be said: `metric` of `node` is, or is no longer, above `threshold`."""

    kind: Kind
    node: str
    metric: str
    value: float
    threshold: float
    state: State


class Policy:
    """All nodes' figures against their thresholds."""

    def __init__(self, settings: PolicySettings) -> None:
        self.settings = settings
        self._limits: dict[Kind, dict[str, float]] = {
            Kind.ADD_STREAM_SERVER: msgspec.structs.asdict(settings.stream),
            Kind.ADD_HUB: msgspec.structs.asdict(settings.hub),
            Kind.ADD_SHARD: msgspec.structs.asdict(settings.shard),
        }
        self._watches: dict[tuple[Kind, str, str], Watch] = {}

    def __repr__(self) -> str:
        raised = [" ".join(key) for key, watch in self._watches.items() if watch.raised]
        return f"<Policy {len(self._watches)} watched, raised: {', '.join(raised) or 'none'}>"

    def see(
        self, at: float, kind: Kind, node: str, figures: Mapping[str, float | None]
    ) -> list[Crossing]:
        """A node's figures at `at` (s); a metric that is not among them is one that nobody knows."""
        said = []
        for metric, limit in self._limits[kind].items():
            value = figures.get(metric)
            watch = self._watches.get((kind, node, metric))
            if watch is None:
                watch = Watch(limit, self.settings.hold, self.settings.clear)
                self._watches[kind, node, metric] = watch
            state = watch.see(at, value)
            if state is not None and value is not None:
                said.append(Crossing(kind, node, metric, value, limit, state))
        return said
