from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from faults._links import LinkFault, silent
from harness.network.base import Direction, Toxic

if TYPE_CHECKING:
    from harness.fault import Proof
    from harness.runtime.base import Cluster


@dataclass(frozen=True)
class Blackhole(LinkFault):
    """Links swallow every byte both ways: connections stay, new ones are accepted, nothing arrives.

    What was swallowed is lost, so connections that lived through it are closed when it is healed.
    """

    name: ClassVar[str] = "blackhole"
    colour: ClassVar[str] = "#34495e"

    def toxics(self) -> tuple[Toxic, ...]:
        return tuple(Toxic(f"blackhole-{way}", "timeout", way, {"timeout": 0}) for way in Direction)

    async def hurts(self, cluster: Cluster, link: str) -> Proof:
        return await silent(cluster, link)
