from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from faults._common import require
from faults._whole import Loss, Whole, lost

if TYPE_CHECKING:
    from harness.fault import Fault
    from harness.runtime.base import Cluster


@dataclass(frozen=True)
class HubFailure(Whole):
    """A regional hub is lost: its process crashes or hangs, or it is isolated from everyone."""

    node: str
    mode: Loss = Loss.CRASH

    name: ClassVar[str] = "hub_failure"
    colour: ClassVar[str] = "#9b59b6"

    def parts(self, cluster: Cluster) -> tuple[Fault, ...]:
        known = [node.name for node in cluster.plan.topology.nodes_of("hub")]
        require(self.name, "hub", self.node, known)
        return lost(self.name, cluster, self.node, self.mode)
