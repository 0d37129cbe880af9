from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from faults._nodes import NodeFault, gone, start_again

if TYPE_CHECKING:
    from harness.fault import Proof
    from harness.runtime.base import Cluster


@dataclass(frozen=True)
class Stop(NodeFault):
    """Nodes are asked to end (SIGTERM) and do so in order. Healed by starting them again."""

    name: ClassVar[str] = "stop"
    colour: ClassVar[str] = "#d35400"
    undo_by: ClassVar[str] = "start"

    async def hurt(self, cluster: Cluster, node: str) -> None:
        await cluster.stop(node)

    async def mend(self, cluster: Cluster, node: str) -> None:
        await start_again(cluster, node)

    async def hurts(self, cluster: Cluster, node: str) -> Proof:
        return await gone(cluster, node)
