from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from faults._common import far_door, link_door
from faults._links import LinkFault
from harness.fault import Proof
from harness.network.base import Direction, Toxic
from harness.network.reach import throughput
from harness.network.toxics import checked

if TYPE_CHECKING:
    from harness.runtime.base import Cluster

_MEASURE = 0.6  # s; the first chunk of a rate-limited link is up to 100 ms late
_SLACK = 1.25  # the limit is kept on average, not for each moment


@dataclass(frozen=True)
class Bandwidth(LinkFault):
    """Links let through `rate` KB/s in one direction.

    Shown by small questions and answers, which move some 100 KB/s downstream at best: a limit above what they reach
    without it can't be shown, and neither can one on a link to PostgreSQL.
    """

    rate: int = 10
    direction: Direction = Direction.DOWNSTREAM

    name: ClassVar[str] = "bandwidth"
    colour: ClassVar[str] = "#16a085"

    def __post_init__(self) -> None:
        for toxic in self.toxics():
            checked(toxic)

    def toxics(self) -> tuple[Toxic, ...]:
        return (
            Toxic(f"bandwidth-{self.direction}", "bandwidth", self.direction, {"rate": self.rate}),
        )

    async def hurts(self, cluster: Cluster, link: str) -> Proof:
        """Within the limit through the link, and well above it without."""
        to = cluster.plan.topology.links[link].to
        through = await throughput(*link_door(cluster, link), self.direction, _MEASURE, self.rate)
        direct = await throughput(*far_door(cluster, link), self.direction, _MEASURE, self.rate)
        if through is None or direct is None:
            return Proof(bit=False, seen=f"{link}: throughput to {to} can't be measured")
        bit = 0 < through <= self.rate * _SLACK < direct
        seen = f"{link}: {through:.1f} KB/s, limit {self.rate}; {to} itself: {direct:.1f} KB/s"
        return Proof(bit=bit, seen=seen)

    async def mends(self, cluster: Cluster, link: str) -> Proof:
        through = await throughput(*link_door(cluster, link), self.direction, _MEASURE, self.rate)
        if through is None:
            return Proof(bit=False, seen=f"{link}: throughput can't be measured")
        return Proof(bit=through > self.rate * _SLACK, seen=f"{link}: {through:.1f} KB/s")
