from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from faults import _common
from faults._common import link_door
from faults._links import LinkFault
from harness.fault import Proof
from harness.network.base import Direction, Toxic
from harness.network.reach import probe
from harness.network.toxics import checked
from harness.units import Seconds

if TYPE_CHECKING:
    from harness.runtime.base import Cluster


@dataclass(frozen=True)
class Reset(LinkFault):
    """Links accept connections and reset them (RST) `after` s from their first byte, whichever way it goes.

    A connection on which nothing moves stays. One that was open before ends without RST.
    """

    after: Seconds = Seconds(0.0)

    name: ClassVar[str] = "reset"
    colour: ClassVar[str] = "#e67e22"

    def __post_init__(self) -> None:
        for toxic in self.toxics():
            checked(toxic)

    def toxics(self) -> tuple[Toxic, ...]:
        wait = {"timeout": round(self.after * 1000)}
        return tuple(Toxic(f"reset-{way}", "reset_peer", way, wait) for way in Direction)

    async def hurts(self, cluster: Cluster, link: str) -> Proof:
        reach = await probe(*link_door(cluster, link), self.after + _common.SILENCE)
        bit = reach.connected and not reach.answered and reach.error == "reset"
        return Proof(bit=bit, seen=f"{link}: {reach}")
