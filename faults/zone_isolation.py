from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from faults._common import require
from faults._whole import Severing, Whole, severed

if TYPE_CHECKING:
    from harness.fault import Fault
    from harness.runtime.base import Cluster


@dataclass(frozen=True)
class ZoneIsolation(Whole):
    """A zone can't be reached and reaches nobody: all links across its border fail, those inside go on."""

    zone: str
    mode: Severing = Severing.BLACKHOLE

    name: ClassVar[str] = "zone_isolation"
    colour: ClassVar[str] = "#1abc9c"

    def parts(self, cluster: Cluster) -> tuple[Fault, ...]:
        topology = cluster.plan.topology
        known = {zone for zones in topology.regions.values() for zone in zones}
        require(self.name, "zone", self.zone, known)
        links = tuple(link.id for link in topology.across_border(zone=self.zone))
        if not links:
            raise ValueError(f"{self.name}: no link crosses the border of '{self.zone}'")
        return (severed(links, self.mode),)
