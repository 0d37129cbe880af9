from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from faults._nodes import NodeFault, gone, start_again

if TYPE_CHECKING:
    from harness.fault import Proof
    from harness.runtime.base import Cluster


@dataclass(frozen=True)
class Crash(NodeFault):
    """Nodes die by SIGKILL: no goodbye, connections break, the address refuses. Healed by starting them again."""

    name: ClassVar[str] = "crash"
    colour: ClassVar[str] = "#c0392b"
    undo_by: ClassVar[str] = "start"

    async def hurt(self, cluster: Cluster, node: str) -> None:
        await cluster.kill(node)

    async def mend(self, cluster: Cluster, node: str) -> None:
        await start_again(cluster, node)

    async def hurts(self, cluster: Cluster, node: str) -> Proof:
        return await gone(cluster, node)
