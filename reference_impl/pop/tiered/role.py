"""The PoP whose flags are in tiers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reference_impl.pop.flag_value import Fallback
from reference_impl.pop.origin import Unavailable
from reference_impl.pop.role import Pop, PopSettings
from reference_impl.pop.status import BreakerStatus, TierStatus
from reference_impl.pop.tiered.flags import TieredFlags
from reference_impl.pop.tiered.loads import ColdLoads, Sources
from reference_impl.pop.tiered.ofrep import TieredOfrep
from reference_impl.pop.tiered.settings import TierSettings
from reference_impl.pop.tiered.store import TieredStore
from reference_impl.propagation.fanout import FanOut
from reference_impl.resilience.breaker import Breaker

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from reference_impl.config import NodeConfig
    from reference_impl.evaluation import CompiledFlag
    from reference_impl.kv.base import EdgeReader
    from reference_impl.pop.ofrep import Route
    from reference_impl.pop.origin import Origin
    from reference_impl.pop.status import PopStatus
    from reference_impl.pop.tiered.loads import Loaded
    from reference_impl.propagation.client import StreamClient
    from reference_impl.role import Env


class NoStream(FanOut):
    """Serves nobody: a subscriber begins with all flags, and they are not here."""

    @property
    def unready(self) -> str | None:
        """See `FanOut.unready`."""
        return "a node with tiers doesn't have all flags to give"


class TieredPop(Pop):
    """A `Pop` of which `settings.tiers` says how much is in memory."""

    raw = True
    store: TieredStore
    compiled: TieredFlags

    def __init__(
        self,
        config: NodeConfig,
        env: Env,
        client: StreamClient | None = None,
        kv: EdgeReader | None = None,
        origin: Origin | None = None,
    ) -> None:
        self.tiers = config.settings_as(PopSettings).tiers or TierSettings(memory=64 << 20)
        super().__init__(config, env, client, kv, origin)
        sources = Sources(
            self.compiled,
            self.kv,
            Breaker("kv", self.settings.breaker),
            self.settings.retry,
            env.random,
            self.lookups,
        )
        self.loads = ColdLoads(self.compiled, sources, self.tiers, lambda: self.may_load)

    # -- parts -------------------------------------------------------------------------------------------------------

    def make_store(self) -> TieredStore:
        """See `Pop.make_store`."""
        return TieredStore()

    def make_flags(self) -> TieredFlags:
        """See `Pop.make_flags`."""
        return TieredFlags(self.store, self.tiers)

    def make_fanout(self) -> FanOut:
        """See `Pop.make_fanout`."""
        return NoStream(self.store, self.settings)

    def make_handler(self, routes: Mapping[bytes, Route]) -> TieredOfrep:
        """See `Pop.make_handler`."""
        return TieredOfrep(self, routes, self.popularity, self.tiers)

    async def stop(self) -> None:
        """See `Role.stop`."""
        await self.loads.close()
        await super().stop()

    # -- the data path's view ----------------------------------------------------------------------------------------

    def cold(self, org: str, key: str) -> bool:
        """See `TieredView.cold`."""
        return self.compiled.cold(org, key)

    async def load(self, org: str, key: str) -> CompiledFlag | Fallback | None:
        """See `View.load`. What is cold is loaded; what isn't known is asked for at the origin, as by every PoP."""
        if not self.cold(org, key):
            return self.compiled.get(org, key) or await super().load(org, key)
        return self._told(await self.loads.load(org, key))

    async def peek(
        self, org: str, keys: Sequence[str]
    ) -> Mapping[str, CompiledFlag | Fallback | None]:
        """See `TieredView.peek`."""
        found = await self.loads.peek(org, keys)
        return {key: self._told(loaded) for key, loaded in found.items()}

    def _told(self, found: Loaded) -> CompiledFlag | Fallback | None:
        return self.fallback(found.circuit) if isinstance(found, Unavailable) else found

    # -- status ------------------------------------------------------------------------------------------------------

    def status(self) -> PopStatus:
        """See `Pop.status`."""
        status = super().status()
        breaker = self.loads.sources.breaker
        status.breakers[breaker.name] = BreakerStatus.of(breaker)
        return status

    def tier_status(self) -> TierStatus:
        """See `Pop.tier_status`."""
        definitions, compiled = self.compiled.definitions, self.compiled.compiled
        sources = self.loads.sources
        return TierStatus(
            known=self.store.count,
            definitions=len(definitions),
            compiled=len(compiled),
            limit=self.tiers.memory,
            used=definitions.used + compiled.used,
            evicted=definitions.evicted + compiled.evicted,
            loaded=self.loads.loaded,
            from_kv=sources.from_kv,
            from_origin=sources.from_origin,
            refused=sources.refused,
            turned_away=self.loads.turned_away,
        )


def make_pop(config: NodeConfig, env: Env) -> Pop:
    """A PoP of one process, with tiers or without."""
    tiered = config.settings_as(PopSettings).tiers is not None
    return TieredPop(config, env) if tiered else Pop(config, env)
