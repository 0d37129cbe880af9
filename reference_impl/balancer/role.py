"""The load balancer before stateless servers, such as the API tier."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from reference_impl.balancer.front import Backend, Flow, Front
from reference_impl.balancer.health import HealthSettings
from reference_impl.config import NodeConfig, Positive
from reference_impl.role import Env


class BalancerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Times in s."""

    policy: Literal["least_connections", "round_robin"] = "least_connections"
    health: HealthSettings = HealthSettings()
    connect_timeout: Positive = 1.0
    control_port: int = 8081


class Balancer:
    """A `Role`. Its "backend" links are its servers, all alike."""

    def __init__(self, config: NodeConfig, env: Env) -> None:
        settings = config.settings_as(BalancerSettings)
        self._policy = settings.policy
        self._turn = 0
        self.front = Front(
            config,
            env,
            choose=self._choose,
            health=settings.health,
            connect_timeout=settings.connect_timeout,
            control_port=settings.control_port,
        )

    def __repr__(self) -> str:
        return f"<Balancer {self._policy} {self.front!r}>"

    async def start(self) -> None:
        await self.front.start()

    async def stop(self) -> None:
        await self.front.stop()

    def _choose(self, _source: Flow) -> Iterable[Backend]:
        backends = self.front.backends
        self._turn = (self._turn + 1) % len(backends)
        # Turning the list also decides between equals.
        turned = [*backends[self._turn :], *backends[: self._turn]]
        if self._policy == "least_connections":
            turned.sort(key=lambda backend: len(backend.halves))
        return turned
