from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from faults._common import require
from faults._whole import Loss, Whole, lost

if TYPE_CHECKING:
    from harness.fault import Fault
    from harness.runtime.base import Cluster


@dataclass(frozen=True)
class ObjectStoreLoss(Whole):
    """An object store is lost: it crashes or hangs, or it is isolated from everyone. What it holds is there when it is back."""

    node: str
    mode: Loss = Loss.CRASH

    name: ClassVar[str] = "object_store_loss"
    colour: ClassVar[str] = "#7d6608"

    def parts(self, cluster: Cluster) -> tuple[Fault, ...]:
        known = [node.name for node in cluster.plan.topology.nodes_of("objects")]
        require(self.name, "object store", self.node, known)
        return lost(self.name, cluster, self.node, self.mode)
