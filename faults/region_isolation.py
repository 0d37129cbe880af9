from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from faults._common import require
from faults._whole import Severing, Whole, severed

if TYPE_CHECKING:
    from harness.fault import Fault
    from harness.runtime.base import Cluster


@dataclass(frozen=True)
class RegionIsolation(Whole):
    """A region can't be reached and reaches nobody: all links across its border fail, those inside go on."""

    region: str
    mode: Severing = Severing.BLACKHOLE

    name: ClassVar[str] = "region_isolation"
    colour: ClassVar[str] = "#27ae60"

    def parts(self, cluster: Cluster) -> tuple[Fault, ...]:
        topology = cluster.plan.topology
        known = set(topology.regions)
        require(self.name, "region", self.region, known)
        links = tuple(link.id for link in topology.across_border(region=self.region))
        if not links:
            raise ValueError(f"{self.name}: no link crosses the border of '{self.region}'")
        return (severed(links, self.mode),)
