"""What `GET /status` of a PoP answers. Times in ns of the monotonic clock, as the running loop counts them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from reference_impl.pop.levels import Level, Transition
from reference_impl.propagation.subscriber import SubscriberState
from reference_impl.resilience.breaker import Breaker, State

if TYPE_CHECKING:
    from reference_impl.pop.checks import Check
    from reference_impl.propagation.subscriber import Subscriber

NS = 1_000_000_000


class Step(msgspec.Struct, frozen=True):
    """A transition between levels."""

    n: int
    at: int
    source: Level = msgspec.field(name="from")
    to: Level
    reason: str

    @classmethod
    def of(cls, made: Transition) -> Step:
        return cls(made.n, made.at, made.source, made.to, made.reason)


class StreamStatus(msgspec.Struct, frozen=True):
    """`state` None: the node has no link to a stream. `error`: the class of the last failure, while not connected."""

    state: SubscriberState | None = None
    upstream: str | None = None
    error: str | None = None
    failovers: int = 0
    resyncs: int = 0

    @classmethod
    def of(cls, subscriber: Subscriber | None) -> StreamStatus:
        if subscriber is None:
            return cls()
        return cls(
            subscriber.state,
            subscriber.upstream.to if subscriber.upstream else None,
            subscriber.error.kind if subscriber.error else None,
            subscriber.failovers,
            subscriber.resyncs,
        )


class CheckStatus(msgspec.Struct, frozen=True):
    """`error`: the class of the last failure; None after a success."""

    ok: bool
    error: str | None

    @classmethod
    def of(cls, check: Check) -> CheckStatus:
        return cls(check.ok, check.error or None)


class BreakerStep(msgspec.Struct, frozen=True):
    at: int
    to: State


class BreakerStatus(msgspec.Struct, frozen=True):
    state: State
    failures: int
    successes: int
    transitions: list[BreakerStep]

    @classmethod
    def of(cls, breaker: Breaker) -> BreakerStatus:
        steps = [BreakerStep(round(step.at * NS), step.state) for step in breaker.transitions]
        return cls(breaker.state, breaker.failure_count, breaker.success_count, steps)


class Counters(msgspec.Struct, frozen=True, kw_only=True):
    """All since the node's start, but for `subscribers` and `connections`, which are those of now."""

    evaluations: int | None  # requests for one flag; None where workers answer, each for itself
    bulk_evaluations: int | None  # for all of an organisation's
    polls: int
    polls_failed: int  # after all attempts
    lookups: int  # at the origin, each with its attempts
    lookups_shared: int  # that joined another's
    fallbacks: int
    rejected: int  # definitions that couldn't be compiled
    subscribers: int  # of this node's own stream
    dropped: int  # subscribers that were too slow
    connections: int
    alerts: int
    prewarms: int  # hot periods of flags that it told all PoPs of


class ScalingMove(msgspec.Struct, frozen=True):
    """A step of the autoscaler. `rate`: requests/s per worker before it."""

    n: int
    at: int
    source: int = msgspec.field(name="from")
    to: int
    rate: float
    reason: str


class ScalingStatus(msgspec.Struct, frozen=True):
    """`workers` should be there, and new connections go to `serving` of them. `requests`: since the node's start. `rate`:
    requests/s per worker; `total` of all, and `capacity` that they are to bear.
    """

    workers: int
    serving: int
    requests: int
    rate: float
    total: float
    capacity: float
    steps: list[ScalingMove]


class TierStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Flags, by where they are, and what was done with them since the node's start."""

    known: int
    definitions: int  # in memory
    compiled: int
    limit: int  # bytes that both may use
    used: int
    evicted: int
    loaded: int  # cold flags that were brought
    from_kv: int
    from_origin: int
    refused: int  # that were found older than what is known
    turned_away: int  # loads of organisations that waited for too many


class PopStatus(msgspec.Struct, frozen=True, kw_only=True):
    """`kv_at`: the replica of the edge KV that was read last; None before the first answer.

    `origin_at`: the node that the origin's name led to last; None where it has no name.

    `hot`: evaluations/s of each flag ("org/key") that is hot here. `prewarmed`: how often each was made ready for.
    `scaling`: None where the number of workers is fixed.
    """

    node: str
    role: str
    boot: str
    level: Level
    seq: int
    upstream: str | None
    transitions: list[Step]
    stream: StreamStatus
    kv: CheckStatus
    kv_at: str | None
    origin: CheckStatus
    origin_at: str | None
    breakers: dict[str, BreakerStatus]
    counters: Counters
    hot: dict[str, float]
    prewarmed: dict[str, int]
    scaling: ScalingStatus | None = None
    tiers: TierStatus | None = None
