from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from faults import _common
from faults._common import door
from faults._nodes import NodeFault
from harness.fault import Proof
from harness.network.reach import probe
from harness.runtime.base import NodeState

if TYPE_CHECKING:
    from harness.runtime.base import Cluster


@dataclass(frozen=True)
class Disconnect(NodeFault):
    """Nodes lose their network interface and run on: nothing reaches them, they reach nobody. Healed by giving it back.

    For runtimes whose nodes have interfaces of their own: containers.
    """

    name: ClassVar[str] = "disconnect"
    colour: ClassVar[str] = "#117864"
    undo_by: ClassVar[str] = "connect"

    def check(self, cluster: Cluster) -> None:
        super().check(cluster)
        if not cluster.has_interfaces:
            raise ValueError(
                "disconnect: nodes of this runtime have no interface of their own; use blackhole on their links"
            )

    async def hurt(self, cluster: Cluster, node: str) -> None:
        await cluster.disconnect(node)

    async def mend(self, cluster: Cluster, node: str) -> None:
        await cluster.connect(node)

    async def hurts(self, cluster: Cluster, node: str) -> Proof:
        state = cluster.state(node)
        reach = await probe(*door(cluster, node), _common.SILENCE)
        seen = f"{node} is {state}, {cluster.plan.node[node]}: {reach}"
        alive = state in (NodeState.RUNNING, NodeState.STARTING)
        return Proof(bit=alive and not reach.connected, seen=seen)
