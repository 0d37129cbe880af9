from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from faults._common import require
from faults._whole import Loss, Whole, all_lost
from faults.zone_isolation import ZoneIsolation

if TYPE_CHECKING:
    from harness.fault import Fault
    from harness.runtime.base import Cluster


@dataclass(frozen=True)
class ZoneFailure(Whole):
    """An availability zone is lost with all that is in it: every process crashes or hangs, or no link crosses its border."""

    zone: str
    mode: Loss = Loss.CRASH

    name: ClassVar[str] = "zone_failure"
    colour: ClassVar[str] = "#6e2c00"

    def parts(self, cluster: Cluster) -> tuple[Fault, ...]:
        topology = cluster.plan.topology
        known = {zone for zones in topology.regions.values() for zone in zones}
        require(self.name, "zone", self.zone, known)
        if self.mode is Loss.ISOLATION:
            return (ZoneIsolation(self.zone),)
        nodes = tuple(node.name for node in topology.nodes.values() if node.zone == self.zone)
        return (all_lost(self.name, nodes, self.mode),)
