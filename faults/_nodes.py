"""Faults of nodes: subclasses say how one node is hurt, mended and looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from faults import _common
from faults._common import combined, door, require, shown, together
from harness.fault import Proof, Undo
from harness.network.reach import probe
from harness.runtime.base import NodeState

if TYPE_CHECKING:
    from harness.runtime.base import Cluster


@dataclass(frozen=True)
class NodeFault:
    """One `node`, or several `nodes` at once."""

    node: str = ""
    nodes: tuple[str, ...] = ()

    name: ClassVar[str]
    undo_by: ClassVar[str]  # the undo record's action

    def targets(self, _cluster: Cluster) -> tuple[str, ...]:
        return tuple(dict.fromkeys(((self.node,) if self.node else ()) + self.nodes))

    def check(self, cluster: Cluster) -> None:
        if not self.targets(cluster):
            raise ValueError(f"{self.name}: say which node")
        for node in self.targets(cluster):
            require(self.name, "node", node, cluster.plan.topology.nodes)

    def undo(self, cluster: Cluster) -> tuple[Undo, ...]:
        return tuple(Undo(action=self.undo_by, subject=node) for node in self.targets(cluster))

    async def inject(self, cluster: Cluster) -> None:
        await together(self.hurt(cluster, node) for node in self.targets(cluster))

    async def heal(self, cluster: Cluster) -> None:
        await together(self.mend(cluster, node) for node in self.targets(cluster))

    async def verify(self, cluster: Cluster) -> Proof:
        async def look() -> Proof:
            return combined(await together(self.hurts(cluster, n) for n in self.targets(cluster)))

        return await shown(look, _common.VERIFY_WITHIN)

    async def verify_healed(self, cluster: Cluster) -> Proof:
        async def look() -> Proof:
            return combined(await together(serves(cluster, n) for n in self.targets(cluster)))

        return await shown(look, _common.HEAL_WITHIN)

    async def hurt(self, cluster: Cluster, node: str) -> None:
        raise NotImplementedError

    async def mend(self, cluster: Cluster, node: str) -> None:
        raise NotImplementedError

    async def hurts(self, cluster: Cluster, node: str) -> Proof:
        raise NotImplementedError


async def gone(cluster: Cluster, node: str) -> Proof:
    """The process has ended, and its own address refuses, is not there any more, or ends the connection at once."""
    state = cluster.state(node)
    reach = await probe(*door(cluster, node), _common.SILENCE)
    silent = not reach.connected or reach.error in ("reset", "closed")
    bit = state is NodeState.EXITED and silent
    return Proof(bit=bit, seen=f"{node} is {state}, {cluster.plan.node[node]}: {reach}")


async def serves(cluster: Cluster, node: str) -> Proof:
    """The process runs and answers at its own address."""
    state = cluster.state(node)
    reach = await probe(*door(cluster, node), _common.SILENCE)
    bit = state is NodeState.RUNNING and reach.answered
    return Proof(bit=bit, seen=f"{node} is {state}, {cluster.plan.node[node]}: {reach}")


async def start_again(cluster: Cluster, node: str) -> None:
    """Start it if it has ended."""
    if cluster.state(node) is NodeState.EXITED:
        await cluster.start(node)
