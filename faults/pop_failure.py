from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from faults._common import require
from faults._whole import Loss, Whole, lost

if TYPE_CHECKING:
    from harness.fault import Fault
    from harness.runtime.base import Cluster


@dataclass(frozen=True)
class PopFailure(Whole):
    """A PoP is lost: its process crashes or hangs, or it is isolated from everyone."""

    node: str
    mode: Loss = Loss.CRASH

    name: ClassVar[str] = "pop_failure"
    colour: ClassVar[str] = "#e74c3c"

    def parts(self, cluster: Cluster) -> tuple[Fault, ...]:
        known = [node.name for node in cluster.plan.topology.nodes_of("pop")]
        require(self.name, "pop", self.node, known)
        return lost(self.name, cluster, self.node, self.mode)
