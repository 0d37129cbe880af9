from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from faults._common import require
from faults._whole import Loss, Whole, all_lost
from faults.region_isolation import RegionIsolation

if TYPE_CHECKING:
    from harness.fault import Fault
    from harness.runtime.base import Cluster


@dataclass(frozen=True)
class RegionFailure(Whole):
    """A region is lost with all that is in it: every process crashes or hangs, or no link crosses its border."""

    region: str
    mode: Loss = Loss.CRASH

    name: ClassVar[str] = "region_failure"
    colour: ClassVar[str] = "#641e16"

    def parts(self, cluster: Cluster) -> tuple[Fault, ...]:
        topology = cluster.plan.topology
        require(self.name, "region", self.region, topology.regions)
        if self.mode is Loss.ISOLATION:
            return (RegionIsolation(self.region),)
        nodes = tuple(node.name for node in topology.nodes.values() if node.region == self.region)
        return (all_lost(self.name, nodes, self.mode),)
