"""The advisor: reads how loaded stream servers, hubs and shards are, and tells when one more is needed.

It recommends; it starts nothing. `GET /recommendations?since=N` is the feed, and each entry is an alert too.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, Final, NoReturn

import msgspec
from aiohttp import web

from reference_impl.alerts.sender import AlertSender
from reference_impl.capacity.sources import NodeSource, ShardSource, Source
from reference_impl.capacity.thresholds import Crossing, Kind, Policy, PolicySettings, State
from reference_impl.config import ConfigError, NodeConfig, Positive
from reference_impl.resilience.http import HttpClient
from reference_impl.role import Env
from reference_impl.web import Site, Tasks, error_response, json_response

KEPT: Final = 10_000
KINDS: Final = {"stream": Kind.ADD_STREAM_SERVER, "hub": Kind.ADD_HUB}  # by the watched node's role
ALERTS: Final = {
    State.RAISED: "SCALING_RECOMMENDED",
    State.WITHDRAWN: "SCALING_WITHDRAWN",
}


class AdvisorSettings(PolicySettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`interval`: s from look to look. `within`: s for one answer. `window`: s that a rate of queries is of."""

    interval: Positive = 1.0
    within: Positive = 0.5
    window: Positive = 10.0
    user: str = "squall"


class Recommendation(Crossing, frozen=True):
    """`n` counts from 1. `at` is when it was said, in ns of the monotonic clock."""

    n: int = 0
    at: int = 0


class Advisor:
    """A `Role`. Links: "watch" to stream servers and hubs, "db" to the server of each shard, "alerts"."""

    def __init__(
        self, config: NodeConfig, env: Env, sources: Sequence[Source] | None = None
    ) -> None:
        self.config = config
        self.env = env
        self.settings = config.settings_as(AdvisorSettings)
        self._http = HttpClient()
        self.sources = tuple(sources) if sources is not None else self._linked()
        self.policy = self.make_policy()
        self.alerts = AlertSender(config.name, config.upstreams("alerts"), self._http, env)
        self.feed: deque[Recommendation] = deque(maxlen=KEPT)
        self._said = 0
        self._seen: dict[str, dict[str, float | None]] = {}
        self._tasks = Tasks()
        self.site = Site(self._status, lambda: None)
        self.site.get("/recommendations", self._list)

    def __repr__(self) -> str:
        return f"<Advisor {self.config.name} said={self._said} {self.policy!r}>"

    def make_policy(self) -> Policy:
        """What decides; a variant of the platform replaces it."""
        return Policy(self.settings)

    def _linked(self) -> tuple[Source, ...]:
        settings, sources = self.settings, list[Source]()
        for link in self.config.upstreams("watch"):
            if link.role not in KINDS:
                raise ConfigError(f"{self.config.name}: a {link.role} has no thresholds: {link.to}")
            sources.append(NodeSource(KINDS[link.role], link, self._http, settings.within))
        sources += [
            ShardSource(link, settings.user, settings.within, settings.window)
            for link in self.config.upstreams("db")
        ]
        return tuple(sources)

    async def start(self) -> None:
        self._tasks.start(self._watch, "watch")
        self._tasks.start(self.alerts.run, "alerts")
        await self.site.start(self.config.listen.host, self.config.listen.port)

    async def stop(self) -> None:
        await self._tasks.stop()
        await self.site.stop()
        for source in self.sources:
            source.close()
        await self._http.close()

    async def _watch(self) -> NoReturn:
        while True:
            await asyncio.gather(*(self._look(source) for source in self.sources))
            await asyncio.sleep(self.settings.interval)

    async def _look(self, source: Source) -> None:
        figures = await source.figures()
        at = asyncio.get_running_loop().time()
        self._seen[source.node] = dict(figures)
        for crossing in self.policy.see(at, source.kind, source.node, figures):
            self._say(crossing, at)

    def _say(self, crossing: Crossing, at: float) -> None:
        self._said += 1
        facts = msgspec.structs.asdict(crossing)
        self.feed.append(Recommendation(**facts, n=self._said, at=round(at * 1e9)))
        self.alerts(ALERTS[crossing.state], msgspec.to_builtins(crossing))

    async def _list(self, request: web.Request) -> web.Response:
        """Those with a number above `since`."""
        since = request.query.get("since", "0")
        if not (since.isascii() and since.isdigit()):
            return error_response(400, f"since={since!r} is no number")
        told = [one for one in self.feed if one.n > int(since)]
        return json_response({"recommendations": told})

    def _status(self) -> dict[str, Any]:
        return {
            "node": self.config.name,
            "role": self.config.role,
            "boot": self.env.boot,
            "said": self._said,
            "alerts": self.alerts.raised,
            "figures": self._seen,
        }
