from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from faults._common import combined
from faults._nodes import NodeFault, gone, serves, start_again
from harness.fault import Proof

if TYPE_CHECKING:
    from harness.runtime.base import Cluster


@dataclass(frozen=True)
class Restart(NodeFault):
    """Nodes are stopped in order and started again at once, as in a deployment. Healing makes sure that they run.

    When `inject` is done it is over, so what shows that it bit is looked at in between, from outside, and kept.
    """

    name: ClassVar[str] = "restart"
    colour: ClassVar[str] = "#f39c12"
    undo_by: ClassVar[str] = "start"

    async def inject(self, cluster: Cluster) -> None:
        self._down.clear()
        await super().inject(cluster)

    async def hurt(self, cluster: Cluster, node: str) -> None:
        await cluster.stop(node)
        self._down[node] = await gone(cluster, node)
        await cluster.start(node)

    async def mend(self, cluster: Cluster, node: str) -> None:
        await start_again(cluster, node)

    async def hurts(self, cluster: Cluster, node: str) -> Proof:
        never = Proof(bit=False, seen=f"{node} was never seen down")
        return combined([self._down.get(node, never), await serves(cluster, node)])

    @property
    def _down(self) -> dict[str, Proof]:
        """Not a field: it is nothing that a scenario writes, nor a part of what makes two restarts equal."""
        return vars(self).setdefault("_seen_down", {})  # type: ignore[no-any-return]
