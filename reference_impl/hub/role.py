"""The regional hub: follows a stream server, fans out to the region's PoPs, and keeps the edge KV, each of its replicas."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Annotated, Any, Final, NoReturn

import msgspec
from aiohttp import web

from reference_impl.alerts.sender import AlertSender
from reference_impl.capacity.echo import Echoes
from reference_impl.capacity.load import Gauge, LoadFigures
from reference_impl.config import NodeConfig, Positive
from reference_impl.hub.kv_writer import KVWriter
from reference_impl.kv.base import EdgeKV
from reference_impl.kv.redis import RedisKV
from reference_impl.propagation.client import HttpStreamClient, StreamClient
from reference_impl.propagation.fanout import FanOut
from reference_impl.propagation.prewarm import Relay
from reference_impl.propagation.settings import FollowSettings
from reference_impl.propagation.store import Store
from reference_impl.propagation.subscriber import Subscriber
from reference_impl.resilience.http import HttpClient
from reference_impl.role import Env
from reference_impl.web import (
    Site,
    Tasks,
    error_response,
    json_response,
    prewarm_handler,
    stream_handler,
)

MOST_BROADCASTS: Final = 10


class HubSettings(FollowSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`upstream_grace`: after so many s without an upstream it ends its streams, so that PoPs know.

    `kv_timeout`: for one call, in s. `kv_check`: how often it compares the KV's position with its own.
    `latency_window`: s that the latency to PoPs is of. `memory_limit`: bytes that it may use; 0: all of the machine's.
    """

    upstream_grace: Positive = 3.0
    kv_timeout: Positive = 0.5
    kv_check: Positive = 1.0
    latency_window: Positive = 30.0
    memory_limit: Annotated[int, msgspec.Meta(ge=0)] = 0


class Broadcast(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `POST /broadcast`."""

    name: str
    data: dict[str, object] = {}


class Hub:
    """A `Role`. `client` and `kv` can be given; else HTTP and Redis of the "kv" links: replicas, each written on its own."""

    def __init__(
        self,
        config: NodeConfig,
        env: Env,
        client: StreamClient | None = None,
        kv: EdgeKV | None = None,
    ) -> None:
        self.config = config
        self.env = env
        self.settings = config.settings_as(HubSettings)
        self._http = HttpClient()
        self.store = Store(self.settings.ring)
        self.fanout = FanOut(self.store, self.settings, stamped=True)
        self.gauge = Gauge(self.settings.memory_limit)
        self.echoes = Echoes(self.settings.latency_window)
        self.alerts = AlertSender(config.name, config.upstreams("alerts"), self._http, env)
        config.upstream("stream")  # a hub without one is a mistake
        self._grace: asyncio.TimerHandle | None = None
        self.relay = Relay(self.fanout, config.upstreams("stream"), self._http, env.random)
        self.subscriber = Subscriber(
            config.upstreams("stream"),
            self.store,
            client or HttpStreamClient(self._http, config.role),
            self.settings,
            env.random,
            alert=self.alerts,
            connected=self._connected,
            disconnected=self._disconnected,
            prewarm=self.relay.told,
        )
        self.kvs = self._redis() if kv is None else {"kv": kv}
        self.writers = {
            name: KVWriter(each, self.store, self.settings.kv_check)
            for name, each in self.kvs.items()
        }
        self.broadcasts: deque[dict[str, object]] = deque(maxlen=MOST_BROADCASTS)
        self._tasks = Tasks()
        self.site = Site(self._status, lambda: self.fanout.unready)
        self.site.get("/stream", stream_handler(self.fanout))
        self.site.add("POST", "/broadcast", self._broadcast)
        self.site.add("POST", "/prewarm", prewarm_handler(self.relay))
        self.site.add("POST", "/echo", self.echoes.handle)

    def __repr__(self) -> str:
        return f"<Hub {self.config.name} {self.subscriber!r} {self.fanout!r} {list(self.writers.values())!r}>"

    def _redis(self) -> dict[str, EdgeKV]:
        timeout = self.settings.kv_timeout
        links = self.config.upstreams("kv")
        return {link.to: RedisKV(link.host, link.port, timeout=timeout) for link in links}

    async def start(self) -> None:
        self._tasks.start(self._subscribe, "subscriber")
        self._tasks.start(self.alerts.run, "alerts")
        self._tasks.start(self.relay.run, "prewarms")
        for name, writer in self.writers.items():
            self._tasks.start(writer.run, f"edge KV {name}")
        await self.site.start(self.config.listen.host, self.config.listen.port)

    async def stop(self) -> None:
        self.fanout.suspend("stopping")
        self._cancel_grace()
        await self._tasks.stop()
        await self.site.stop()
        await self._http.close()
        for kv in self.kvs.values():
            await kv.close()

    async def _subscribe(self) -> NoReturn:
        await self.subscriber.run()

    async def _broadcast(self, request: web.Request) -> web.Response:
        """What the operators' side tells all hubs, such as that a failover is complete: look for an upstream at once."""
        try:
            told = msgspec.json.decode(await request.read(), type=Broadcast)
        except msgspec.DecodeError as error:
            return error_response(400, f"not a broadcast: {error}")
        self.broadcasts.append({"name": told.name, "at": _monotonic_ns(), **told.data})
        self.subscriber.nudge()
        return json_response({"node": self.config.name})

    def _connected(self) -> None:
        self._cancel_grace()
        self.fanout.resume()

    def _disconnected(self) -> None:
        self._cancel_grace()
        self._grace = asyncio.get_running_loop().call_later(
            self.settings.upstream_grace, self.fanout.suspend, "no upstream"
        )

    def _cancel_grace(self) -> None:
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None

    def _status(self) -> dict[str, Any]:
        subscriber = self.subscriber
        return {
            "node": self.config.name,
            "role": self.config.role,
            "boot": self.env.boot,
            "seq": self.store.seq,
            "upstream": subscriber.upstream.to if subscriber.upstream else None,
            "state": subscriber.state,
            "error": subscriber.error.kind if subscriber.error else None,
            "failovers": subscriber.failovers,
            "resyncs": subscriber.resyncs,
            "subscribers": self.fanout.subscribers,
            "dropped": self.fanout.dropped,
            "refusing": self.fanout.unready,
            "load": self._load(),
            "kv": {
                name: {"seq": writer.written, "error": writer.error.kind if writer.error else None}
                for name, writer in self.writers.items()
            },
            "alerts": self.alerts.raised,
            "prewarms": self.relay.passed,
            "broadcast": self.broadcasts[-1]["name"] if self.broadcasts else None,
            "broadcasts": list(self.broadcasts),
        }

    def _load(self) -> LoadFigures:
        latency = self.echoes.p99_ms()
        return self.gauge.figures(self.fanout.subscribers, self.fanout.of_role("pop"), latency)


def _monotonic_ns() -> int:
    return round(asyncio.get_running_loop().time() * 1e9)
