from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from faults import _common
from faults._common import far_door, link_door
from faults._links import LinkFault
from harness.fault import Proof, Undo
from harness.network.reach import probe

if TYPE_CHECKING:
    from harness.runtime.base import Cluster


@dataclass(frozen=True)
class Cut(LinkFault):
    """Links are cut where callers notice at once: open connections end, new ones are refused."""

    name: ClassVar[str] = "cut"
    colour: ClassVar[str] = "#2c3e50"

    def undo(self, cluster: Cluster) -> tuple[Undo, ...]:
        return tuple(Undo(action="restore", subject=link) for link in self.targets(cluster))

    async def hurt(self, cluster: Cluster, link: str) -> None:
        await cluster.network.cut(link)

    async def mend(self, cluster: Cluster, link: str) -> None:
        await cluster.network.restore(link)

    async def hurts(self, cluster: Cluster, link: str) -> Proof:
        """Refused; or ended at once, while the far end answers whoever asks it directly.

        Ended alone proves nothing: an uncut link to a dead node accepts and closes.
        """
        through = await probe(*link_door(cluster, link), _common.SILENCE)
        if through.error == "refused":
            return Proof(bit=True, seen=f"{link}: {through}")
        to = cluster.plan.topology.links[link].to
        direct = await probe(*far_door(cluster, link), _common.SILENCE)
        bit = through.error in ("reset", "closed") and direct.answered
        return Proof(bit=bit, seen=f"{link}: {through}; {to} itself: {direct}")
