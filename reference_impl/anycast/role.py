"""The network's anycast: one address for all users, and the nearest healthy PoP behind it ("Edge PoP Failover").

It stands for BGP with fast failure detection: a PoP that does not answer for about 100 ms is withdrawn, its
connections are reset, and its users' next connections reach the next nearest.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Final

import msgspec

from reference_impl.balancer.front import Backend, Front
from reference_impl.balancer.health import HealthSettings
from reference_impl.config import ConfigError, NodeConfig, Positive
from reference_impl.role import Env

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

    def _choose(self, source: str) -> Iterable[Backend]:
        group = self._group_of(source)
        return self._routes.get(group, self.front.backends) if group else self.front.backends
