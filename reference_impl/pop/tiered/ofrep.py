"""OFREP where not all flags are in memory."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from reference_impl.evaluation import CompiledFlag
from reference_impl.pop.etags import Piece
from reference_impl.pop.flag_value import Fallback, View, get_flag_value
from reference_impl.pop.ofrep import Ofrep

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from reference_impl.evaluation import Resolution
    from reference_impl.pop.ofrep import Route
    from reference_impl.pop.popularity.counting import Popularity
    from reference_impl.pop.response import Answer, ResponseWriter
    from reference_impl.pop.tiered.settings import TierSettings


class TieredView(View, Protocol):
    """A `View` of which some flags are cold."""

    @property
    def may_load(self) -> bool:
        """Whether they are loaded, at the level of now."""
        ...

    def cold(self, org: str, key: str) -> bool:
        """Whether there is such a flag, and it is not in memory."""
        ...

    async def peek(
        self, org: str, keys: Sequence[str]
    ) -> Mapping[str, CompiledFlag | Fallback | None]:
        """Cold flags for this use only. Bounded in time; never raises."""
        ...


class TieredOfrep(Ofrep):
    """See `Ofrep`. An answer about a flag that was loaded for it says so in its metadata, `loaded`, and isn't kept.

    An answer about all flags brings the cold ones in batches, and they don't stay: nothing gives way to it.
    """

    def __init__(
        self,
        view: TieredView,
        routes: Mapping[bytes, Route],
        popularity: Popularity,
        settings: TierSettings,
    ) -> None:
        super().__init__(view, routes, popularity)
        self.kept = settings.answers
        self._batch = settings.batch
        self._tiers = view

    async def _load(
        self, org: str, key: str, context: dict[str, Any], writer: ResponseWriter
    ) -> None:
        found = await self._tiers.load(org, key)
        resolution = self._loaded(org, key, found, context)
        await writer.send(self._once(_marked(resolution)))

    def _all(self, org: str, known: list[bytes], context: dict[str, Any]) -> Answer:
        tiers = self._tiers
        if tiers.may_load and any(tiers.cold(org, key) for key in self._known_keys(org)):
            return partial(self._in_batches, org, known, context)
        return super()._all(org, known, context)

    async def _in_batches(
        self, org: str, known: list[bytes], context: dict[str, Any], writer: ResponseWriter
    ) -> None:
        keys, found = self._known_keys(org), list[Piece]()
        for start in range(0, len(keys), self._batch):
            found += await self._pieces_of(org, keys[start : start + self._batch], context)
            await asyncio.sleep(0)
        await writer.send(self._together(self._tiers.level, found, known))

    async def _pieces_of(self, org: str, keys: list[str], context: dict[str, Any]) -> list[Piece]:
        tiers = self._tiers
        level = tiers.level
        outcomes: dict[str, Resolution | None] = {
            key: get_flag_value(tiers, level, org, key, context) for key in keys
        }
        wanted = [k for k, outcome in outcomes.items() if outcome is None and tiers.cold(org, k)]
        if wanted:
            for key, flag in (await tiers.peek(org, wanted)).items():
                if flag is not None:
                    outcomes[key] = self._loaded(org, key, flag, context)
        return [self._cut(outcome) for outcome in outcomes.values() if outcome is not None]


def _marked(resolution: Resolution) -> Resolution:
    return replace(resolution, metadata={**resolution.metadata, "loaded": True})
