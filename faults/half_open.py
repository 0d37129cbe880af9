from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from faults._common import combined
from faults._links import LinkFault, silent
from harness.fault import Proof
from harness.network.base import Direction, Toxic

if TYPE_CHECKING:
    from harness.runtime.base import Cluster


@dataclass(frozen=True)
class HalfOpen(LinkFault):
    """Links swallow every byte in one direction only: "downstream" loses the answers, "upstream" the questions."""

    direction: Direction = Direction.DOWNSTREAM

    name: ClassVar[str] = "half_open"
    colour: ClassVar[str] = "#7f8c8d"

    def toxics(self) -> tuple[Toxic, ...]:
        return (Toxic(f"half_open-{self.direction}", "timeout", self.direction, {"timeout": 0}),)

    async def hurts(self, cluster: Cluster, link: str) -> Proof:
        # A stranger can't tell which way is lost; that the other way is free is the daemon's own word.
        state = await cluster.network.state(link)
        ways = sorted({str(toxic.direction) for toxic in state.toxics if toxic.type == "timeout"})
        one_way = Proof(bit=ways == [self.direction], seen=f"{link} is stalled {ways or 'nowhere'}")
        return combined([await silent(cluster, link, may_close=True), one_way])
