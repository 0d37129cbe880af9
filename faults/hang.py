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
class Hang(NodeFault):
    """Nodes are stopped in mid-step (SIGSTOP): connections are accepted and never answered. Healed by SIGCONT."""

    name: ClassVar[str] = "hang"
    colour: ClassVar[str] = "#8e44ad"
    undo_by: ClassVar[str] = "resume"

    async def hurt(self, cluster: Cluster, node: str) -> None:
        await cluster.pause(node)

    async def mend(self, cluster: Cluster, node: str) -> None:
        if cluster.state(node) is NodeState.PAUSED:
            await cluster.resume(node)

    async def hurts(self, cluster: Cluster, node: str) -> Proof:
        state = cluster.state(node)
        reach = await probe(*door(cluster, node), _common.SILENCE)
        silent = reach.connected and reach.error == "timeout"
        seen = f"{node} is {state}, {cluster.plan.node[node]}: {reach}"
        return Proof(bit=state is NodeState.PAUSED and silent, seen=seen)
