from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from faults._common import far_door, link_door
from faults._links import LinkFault
from harness.fault import Proof
from harness.network.base import Direction, Toxic
from harness.network.reach import fastest
from harness.network.toxics import checked
from harness.units import Seconds

if TYPE_CHECKING:
    from harness.runtime.base import Cluster


@dataclass(frozen=True)
class Latency(LinkFault):
    """Links delay what passes in one direction by `latency` ± `jitter`, which a round trip sees once."""

    latency: Seconds = Seconds(0.1)
    jitter: Seconds = Seconds(0.0)
    direction: Direction = Direction.DOWNSTREAM

    name: ClassVar[str] = "latency"
    colour: ClassVar[str] = "#2980b9"

    def __post_init__(self) -> None:
        if self.latency < self.jitter + 0.001:
            raise ValueError(
                f"latency {self.latency:g} s must be 1 ms or more above its jitter {self.jitter:g} s"
            )
        for toxic in self.toxics():
            checked(toxic)

    def toxics(self) -> tuple[Toxic, ...]:
        delay = {"latency": round(self.latency * 1000), "jitter": round(self.jitter * 1000)}
        return (Toxic(f"latency-{self.direction}", "latency", self.direction, delay),)

    async def hurts(self, cluster: Cluster, link: str) -> Proof:
        """Slow through the link and not slow without it."""
        slow, seen = await self._look(cluster, link)
        to = cluster.plan.topology.links[link].to
        direct = await fastest(*far_door(cluster, link), self._patience)
        quick = direct.answered and direct.rtt_ms < self._least_ms
        return Proof(bit=slow is True and quick, seen=f"{seen}; {to} itself: {direct}")

    async def mends(self, cluster: Cluster, link: str) -> Proof:
        slow, seen = await self._look(cluster, link)
        return Proof(bit=slow is False, seen=seen)

    async def _look(self, cluster: Cluster, link: str) -> tuple[bool | None, str]:
        """Whether the quickest round trip has the delay; None without an answer."""
        reach = await fastest(*link_door(cluster, link), self._patience)
        slow = reach.rtt_ms >= self._least_ms if reach.answered else None
        return slow, f"{link}: {reach}, delay wanted {self._least_ms:.0f} ms"

    @property
    def _least_ms(self) -> float:
        return (self.latency - self.jitter) * 1000

    @property
    def _patience(self) -> float:
        return self.latency + self.jitter + 1.0
