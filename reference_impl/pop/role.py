"""The edge PoP: evaluates flags from memory, follows the stream, and degrades level by level when others fail."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, Protocol

import msgspec

from reference_impl.alerts.sender import AlertSender
from reference_impl.capacity.echo import Echo
from reference_impl.config import Positive
from reference_impl.dns.resolver import Resolver, ResolverSettings
from reference_impl.kv.redis import RedisKV
from reference_impl.kv.replicas import Replicas
from reference_impl.pop.autoscale import AutoscaleSettings
from reference_impl.pop.degradation import Degradation, DegradationSettings
from reference_impl.pop.flag_value import Defaults, Fallback
from reference_impl.pop.flags import CompiledFlags
from reference_impl.pop.http import (
    Answer,
    Headers,
    HttpServer,
    bind,
    refusal,
    response,
)
from reference_impl.pop.levels import Level
from reference_impl.pop.ofrep import BULK, Ofrep, Route
from reference_impl.pop.origin import (
    Absent,
    HttpOrigin,
    LookupSettings,
    NamedOrigin,
    Origin,
    ReadThrough,
    Unavailable,
)
from reference_impl.pop.popularity.counting import Popularity
from reference_impl.pop.popularity.detector import HotSettings
from reference_impl.pop.popularity.watch import Watch
from reference_impl.pop.shared.arena import READERS
from reference_impl.pop.status import (
    NS,
    BreakerStatus,
    CheckStatus,
    Counters,
    PopStatus,
    Step,
    StreamStatus,
    TierStatus,
)
from reference_impl.pop.streaming import stream_answer
from reference_impl.pop.tenants import Tenants
from reference_impl.pop.tiered.settings import TierSettings
from reference_impl.propagation.client import HttpStreamClient, StreamClient
from reference_impl.propagation.fanout import FanOut
from reference_impl.propagation.prewarm import Relay
from reference_impl.propagation.store import Store
from reference_impl.propagation.subscriber import Subscriber
from reference_impl.resilience.breaker import Breaker, BreakerSettings
from reference_impl.resilience.http import HttpClient
from reference_impl.resilience.retry import RetrySettings
from reference_impl.tenants.tiers import Places
from reference_impl.web import Tasks

if TYPE_CHECKING:
    import socket
    from collections.abc import Collection, Coroutine, Mapping

    from reference_impl.config import NodeConfig
    from reference_impl.evaluation import Clock, CompiledFlag
    from reference_impl.kv.base import EdgeReader
    from reference_impl.propagation.types import FlagState
    from reference_impl.role import Env

STOP_WITHIN = 1.0  # s that open requests get to end


class PopSettings(DegradationSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings of a PoP. Durations in s.

    `defaults`: the values packaged with the node, by flag key; in EMERGENCY only the booleans among them count.
    `breaker`, `retry`, `lookup`: of flags that are asked for at the origin; `retry` is that of polls too.
    `origin_name`: by which the origin is found among the "origin" links; "": the links' order. `resolver`: how, over the
    "dns" links.
    `upstream_grace`: after so many s without the stream it ends its own streams, so that subscribers know.
    `workers`: processes that answer from one store; with 1 there is only the node's own. `autoscale`: how they become more
    and fewer; without it their number is fixed. `store_limit`: bytes that flags may
    use in it, twice that for a moment; `hot`: flags that each worker keeps compiled.
    `popularity`: which flags are evaluated so often that their answers may be cached, and all PoPs are told.
    `tiers`: how much of the flags is in memory; None: all of them. Only for a node of one process.
    """

    workers: Annotated[int, msgspec.Meta(ge=1, le=READERS - 1)] = 1
    autoscale: AutoscaleSettings | None = None
    store_limit: Annotated[int, msgspec.Meta(ge=1 << 20)] = 256 << 20
    hot: Annotated[int, msgspec.Meta(ge=1)] = 10_000

    defaults: dict[str, bool | int | float | str] = msgspec.field(default_factory=dict)
    breaker: BreakerSettings = BreakerSettings()
    retry: RetrySettings = RetrySettings()
    lookup: LookupSettings = LookupSettings()
    origin_name: str = ""
    resolver: ResolverSettings = ResolverSettings()
    popularity: HotSettings = HotSettings()
    tiers: TierSettings | None = None
    upstream_grace: Positive = 3.0


class Flags(Protocol):
    """The flags in memory, ready to be evaluated."""

    rejected: int  # definitions that couldn't be compiled

    def get(self, org: str, key: str) -> CompiledFlag | None:
        """The newest good version of a flag; None where there is none."""
        ...

    def keys(self, org: str) -> Collection[str]:
        """The keys of all flags of an organisation."""
        ...

    def knows(self, org: str, key: str) -> bool:
        """Whether there is a definition of that flag, good or not."""
        ...

    def keep_ahead(self, org: str, key: str, state: FlagState) -> CompiledFlag | None:
        """Take a flag that the origin has and the stream hasn't brought yet, if it is newer and good."""
        ...

    def run(self) -> Coroutine[Any, Any, NoReturn]:
        """Work in the background until cancelled."""
        ...


class Pop:
    """A `Role`, and the `View` of its own data path.

    `client`, `kv` and `origin` can be given; else HTTP and Redis of the links with use "stream", "kv" and "origin".
    Each link may be missing: what it would bring then counts as lost.
    """

    raw = False  # whether the store takes snapshots whose definitions are bytes
    counts_all = True  # whether it answers all requests of its node itself

    def __init__(
        self,
        config: NodeConfig,
        env: Env,
        client: StreamClient | None = None,
        kv: EdgeReader | None = None,
        origin: Origin | None = None,
    ) -> None:
        self.config = config
        self.env = env
        self.clock: Clock = self._wall_clock
        self.settings = settings = config.settings_as(PopSettings)
        self.defaults = Defaults(settings.defaults)
        self._http = HttpClient()
        self._origin_http = HttpClient(settings.lookup.timeout)  # a pool of its own
        self.store = self.make_store()
        self.compiled = self.make_flags()
        self.fanout = self.make_fanout()
        self.alerts = AlertSender(config.name, config.upstreams("alerts"), self._http, env)
        self.echo = Echo(self._http)
        self.kv = kv or self._redis()
        self.resolver = Resolver(config.upstreams("dns"), settings.resolver, env.random)
        self.origin = origin or self._http_origin()
        self.tenants = Tenants(settings.tenants, Level.EMERGENCY)
        self.lookups = self._read_through()
        self.degradation = self.make_degradation()
        self.popularity = Popularity(settings.popularity)
        self.relay = Relay(self.fanout, config.upstreams("stream"), self._http, env.random)
        self.watch = Watch(
            config.name, f"{config.name}:{env.boot}", self.popularity, self, self.relay.tell
        )
        self.relay.taken = self.watch.take
        self.subscriber = self._follow(client or HttpStreamClient(self._http, config.role))
        self.fallbacks = 0
        self._grace: asyncio.TimerHandle | None = None
        self._tasks = Tasks()
        self.ofrep = self.make_handler(self.make_routes())
        self.server = HttpServer(self.ofrep, quick=BULK)
        self.store.listen(self._arrived)

    def __repr__(self) -> str:
        return f"<Pop {self.config.name} {self.level} {self.subscriber!r} {self.store!r}>"

    # -- parts; a variant of the platform replaces one of these ------------------------------------------------------

    def make_store(self) -> Store:
        """What keeps the flags, and says which news it takes."""
        return Store(self.settings.ring)

    def make_flags(self) -> Flags:
        """What evaluates them."""
        return CompiledFlags(self.store)

    def make_fanout(self) -> FanOut:
        """What serves its own stream."""
        return FanOut(self.store, self.settings)

    def make_handler(self, routes: Mapping[bytes, Route]) -> Ofrep:
        """What answers requests."""
        return Ofrep(self, routes, self.popularity)

    def make_degradation(self) -> Degradation:
        """What decides on the level."""
        return Degradation(
            self.settings,
            self.settings.retry,
            self.store,
            kv=self.kv,
            origin=self.origin.health if self.origin else None,
            chance=self.env.random,
            changed=self.level_changed,
        )

    def make_routes(self) -> dict[bytes, Route]:
        """What it answers besides evaluations."""
        return {
            b"/health": self._health,
            b"/ready": self._ready,
            b"/announce": self._announce,
            b"/status": self._status,
            b"/stream": self._stream,
        }

    def make_listener(self) -> socket.socket:
        """Where it serves."""
        return bind(self.config.listen.host, self.config.listen.port)

    def level_changed(self, _: object) -> None:
        """Called after each walk through the levels."""
        self.tenants.at(self.level)

    def _redis(self) -> EdgeReader | None:
        timeout = self.settings.kv_timeout
        links = self.config.upstreams("kv")
        replicas = {link.to: RedisKV(link.host, link.port, timeout=timeout) for link in links}
        # Half of what a ping may take, so that one replica that hangs leaves time for another's answer.
        return Replicas(replicas, timeout / 2) if replicas else None

    def _http_origin(self) -> Origin | None:
        upstreams = self.config.upstreams("origin")
        if not upstreams:
            return None
        if name := self.settings.origin_name:
            return NamedOrigin(self._origin_http, upstreams, name, self.resolver)
        return HttpOrigin(self._origin_http, upstreams)

    def _read_through(self) -> ReadThrough | None:
        if self.origin is None:
            return None
        breaker = Breaker("origin", self.settings.breaker)
        return ReadThrough(
            self.origin,
            breaker,
            self.settings.retry,
            self.settings.lookup,
            self.env.random,
            Places(self.settings.tenants, self.settings.lookup.concurrent),
        )

    def _follow(self, client: StreamClient) -> Subscriber | None:
        upstreams = self.config.upstreams("stream")
        if not upstreams:
            return None
        return Subscriber(
            upstreams,
            self.store,
            client,
            self.settings,
            self.env.random,
            alert=self.alerts,
            connected=self._connected,
            disconnected=self._disconnected,
            prewarm=self.relay.told,
            beat=self.echo,
            raw=self.raw,
        )

    # -- a role ------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """See `Role.start`. Serves before it knows anything."""
        await self.server.start(self.make_listener())
        self._tasks.start(self.compiled.run, "compiler")
        self._tasks.start(self.alerts.run, "alerts")
        self._tasks.start(self.degradation.run, "degradation")
        self._tasks.start(self.watch.run, "popularity")
        self._tasks.start(self.watch.make_ready, "prewarming")
        self._tasks.start(self.relay.run, "prewarms")
        if self.subscriber is not None:
            self._tasks.start(self.subscriber.run, "subscriber")

    async def stop(self) -> None:
        """See `Role.stop`."""
        self.fanout.suspend("stopping")
        self._cancel_grace()
        self.echo.stop()
        await self._tasks.stop()
        if self.lookups is not None:
            await self.lookups.close()
        await self.server.close(STOP_WITHIN)
        await self._http.close()
        await self.resolver.close()
        await self._origin_http.close()
        if self.kv is not None:
            await self.kv.close()

    # -- the stream's side -------------------------------------------------------------------------------------------

    def _connected(self) -> None:
        self._cancel_grace()
        self.fanout.resume()
        self.degradation.stream_up()

    def _disconnected(self) -> None:
        self._cancel_grace()
        self._grace = asyncio.get_running_loop().call_later(
            self.settings.upstream_grace, self.fanout.suspend, "no upstream"
        )
        self.degradation.stream_down(StreamStatus.of(self.subscriber).error or "")

    def _cancel_grace(self) -> None:
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None

    def _arrived(self, _: object) -> None:
        """The first data over a stream that is already connected is what HEALTHY was waiting for."""
        if self.degradation.streaming and self.level is not Level.HEALTHY:
            self.degradation.settle()

    # -- the data path's view ----------------------------------------------------------------------------------------

    @property
    def node(self) -> str:
        return self.config.name

    @property
    def level(self) -> Level:
        return self.degradation.machine.level

    @property
    def seq(self) -> int:
        return self.store.seq

    def _wall_clock(self) -> float:
        return self.env.wall_ns() / NS

    def admit(self, org: str) -> float:
        """See `View.admit`."""
        return self.tenants.wait(org) if self.tenants.limiting else 0.0

    def flag(self, org: str, key: str) -> CompiledFlag | None:
        """See `View.flag`."""
        return self.compiled.get(org, key)

    def keys(self, org: str) -> Collection[str]:
        """See `View.keys`."""
        return self.compiled.keys(org)

    async def load(self, org: str, key: str) -> CompiledFlag | Fallback | None:
        """See `View.load`. What is found stays in memory until the stream brings it."""
        if self.lookups is None:
            return self.fallback("NO_LINK")
        if self.compiled.knows(org, key):
            return None  # its definition was rejected, and the origin has no other
        found = await self.lookups.lookup(org, key)
        match found:
            case Absent():
                return None
            case Unavailable():
                return self.fallback(found.circuit)
        if not self.may_load:
            return self.fallback(self.lookups.breaker.state)  # "no new flags" holds from now on
        return self.compiled.get(org, key) or self.compiled.keep_ahead(org, key, found)

    @property
    def may_load(self) -> bool:
        """Whether flags that are not in memory are asked for, at the level of now."""
        return self.level in (Level.HEALTHY, Level.DEGRADED_L1)

    def holds(self, org: str, key: str) -> bool:
        """See `Memory.holds`."""
        return self.compiled.get(org, key) is not None

    async def warm(self, org: str, key: str) -> bool:
        """See `Memory.warm`. As for a user, only a level that may load new flags asks the origin."""
        if not self.holds(org, key) and self.may_load:
            await self.load(org, key)
        return self.holds(org, key)

    def fallback(self, circuit: str) -> Fallback:
        """Nobody could be asked; counted."""
        self.fallbacks += 1
        return Fallback({"fallback": True, "circuit": str(circuit)})

    # -- other paths of the server -----------------------------------------------------------------------------------

    def _health(self, method: bytes, *_: object) -> Answer:
        return _reads_only(method) or response(HTTPStatus.OK, b"ok", b"text/plain")

    def _ready(self, method: bytes, *_: object) -> Answer:
        """200 when a subscriber can rely on this node's stream."""
        if refused := _reads_only(method):
            return refused
        reason = self.fanout.unready
        if reason is not None:
            return _unavailable(reason)
        return response(HTTPStatus.OK, b"ready", b"text/plain")

    def _announce(self, method: bytes, *_: object) -> Answer:
        """200 while users should be sent here: not when all it has are defaults, and another PoP may have more."""
        if refused := _reads_only(method):
            return refused
        if self.level is Level.EMERGENCY:
            return _unavailable("only defaults are left")
        return response(HTTPStatus.OK, b"announced", b"text/plain")

    def _status(self, method: bytes, *_: object) -> Answer:
        return _reads_only(method) or response(HTTPStatus.OK, msgspec.json.encode(self.status()))

    def _stream(self, method: bytes, _target: bytes, headers: Headers, _body: bytes) -> Answer:
        if refused := _reads_only(method):
            return refused
        if reason := self.fanout.unready:
            return _unavailable(reason)
        return stream_answer(self.fanout, headers)

    def status(self) -> PopStatus:
        """What `GET /status` answers."""
        stream = StreamStatus.of(self.subscriber)
        breakers = [self.lookups.breaker] if self.lookups else []
        return PopStatus(
            node=self.config.name,
            role=self.config.role,
            boot=self.env.boot,
            level=self.level,
            seq=self.store.seq,
            upstream=stream.upstream,
            transitions=[Step.of(made) for made in self.degradation.machine.transitions],
            stream=stream,
            kv=CheckStatus.of(self.degradation.kv),
            kv_at=self.kv.at if isinstance(self.kv, Replicas) else None,
            origin=CheckStatus.of(self.degradation.origin),
            origin_at=self.origin.at if isinstance(self.origin, NamedOrigin) else None,
            breakers={breaker.name: BreakerStatus.of(breaker) for breaker in breakers},
            tiers=self.tier_status(),
            counters=self._counters(),
            hot={"/".join(name): heat.rate for name, heat in self.watch.detector.hot.items()},
            prewarmed={"/".join(name): n for name, n in self.watch.prewarmed.items()},
        )

    def tier_status(self) -> TierStatus | None:
        """What is in memory and what isn't; None where all flags are."""
        return None

    def _counters(self) -> Counters:
        return Counters(
            evaluations=self.ofrep.evaluations if self.counts_all else None,
            bulk_evaluations=self.ofrep.bulk_evaluations if self.counts_all else None,
            polls=self.degradation.polls,
            polls_failed=self.degradation.polls_failed,
            lookups=self.lookups.lookups if self.lookups else 0,
            lookups_shared=self.lookups.shared if self.lookups else 0,
            fallbacks=self.fallbacks,
            rejected=self.compiled.rejected,
            subscribers=self.fanout.subscribers,
            dropped=self.fanout.dropped,
            connections=self.server.connections,
            alerts=self.alerts.raised,
            prewarms=self.watch.sent,
        )


def _reads_only(method: bytes) -> bytes | None:
    """The refusal of a method other than GET and HEAD."""
    return None if method in (b"GET", b"HEAD") else refusal(HTTPStatus.METHOD_NOT_ALLOWED)


def _unavailable(reason: str) -> bytes:
    return response(HTTPStatus.SERVICE_UNAVAILABLE, msgspec.json.encode({"error": reason}))
