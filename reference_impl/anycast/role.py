"""The network's anycast: one address for all users, and the nearest healthy PoP behind it ("Edge PoP Failover").

It stands for BGP with fast failure detection: a PoP that does not answer for about 100 ms is withdrawn, its
connections are reset, and its users' next connections reach the next nearest.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Iterable
from typing import Annotated, Any, Final

import msgspec
from aiohttp import web

from reference_impl.anycast.weights import Weights
from reference_impl.balancer.front import Backend, Flow, Front
from reference_impl.balancer.health import HealthSettings
from reference_impl.config import ConfigError, NodeConfig, Positive
from reference_impl.role import Env
from reference_impl.web import error_response, json_response

# Where a PoP says whether the network should send users to it.
ANNOUNCE: Final = "/announce"


class AnycastSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`nearest`: for each client group, PoPs from near to far. Those not named come after, in the links' order.

    Times in s.
    """

    nearest: dict[str, list[str]] = {}
    health: HealthSettings = HealthSettings(
        interval=0.03, failures=3, hold=0.3, loss_is_down=True, path=ANNOUNCE
    )
    connect_timeout: Positive = 0.25
    control_port: int = 8081


class NewWeights(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `PUT /weights`: by PoP, for `lasting` s. A controller that dies leaves no weight behind."""

    weights: dict[str, Annotated[float, msgspec.Meta(ge=0, le=1)]]
    lasting: Positive


class Anycast:
    """A `Role`. Its "backend" links are the PoPs."""

    def __init__(self, config: NodeConfig, env: Env) -> None:
        settings = config.settings_as(AnycastSettings)
        self.front = Front(
            config,
            env,
            choose=self._choose,
            health=settings.health,
            connect_timeout=settings.connect_timeout,
            control_port=settings.control_port,
            reroute=True,
            last_resort=True,
        )
        self.weights = Weights()
        self.front.site.add("PUT", "/weights", self._weigh)
        self.front.site.get("/weights", self._weighed)
        self._known = {backend.name: backend for backend in self.front.backends}
        self._group_of = functools.cache(config.group_of)  # asked at each connection
        self._routes = {group: self._route(names) for group, names in settings.nearest.items()}

    def __repr__(self) -> str:
        return f"<Anycast {self.front!r}>"

    async def start(self) -> None:
        await self.front.start()

    async def stop(self) -> None:
        await self.front.stop()

    def _route(self, names: list[str]) -> list[Backend]:
        known = {backend.name: backend for backend in self.front.backends}
        if unknown := sorted(set(names) - set(known)):
            raise ConfigError(
                f"{self.front.config.name}: nearest names {', '.join(unknown)}, which no link leads to"
            )
        rest = [backend for backend in self.front.backends if backend.name not in names]
        return [*(known[name] for name in names), *rest]

    def _choose(self, source: Flow) -> Iterable[Backend]:
        group = self._group_of(source[0])
        route = self._routes.get(group, self.front.backends) if group else self.front.backends
        now = asyncio.get_running_loop().time()
        if not self.weights.at(now):
            return route
        names = [backend.name for backend in route]
        flow = f"{source[0]}:{source[1]}"
        return [self._known[name] for name in self.weights.order(flow, names, now)]

    async def _weigh(self, request: web.Request) -> web.Response:
        try:
            new = msgspec.json.decode(await request.read(), type=NewWeights)
        except msgspec.DecodeError as error:
            return error_response(400, f"not weights: {error}")
        self.weights.replace(new.weights, asyncio.get_running_loop().time() + new.lasting)
        return json_response(self._told())

    async def _weighed(self, _: web.Request) -> web.Response:
        return json_response(self._told())

    def _told(self) -> dict[str, Any]:
        return {"weights": self.weights.at(asyncio.get_running_loop().time())}
