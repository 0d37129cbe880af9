from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from faults._common import require
from harness.errors import RuntimeFailure
from harness.fault import Proof, Undo
from harness.runtime.spot import Spot

if TYPE_CHECKING:
    from harness.runtime.base import Cluster


@dataclass(frozen=True)
class Corrupt:
    """One bit of the newest file like `file` (a pattern) in a node's folder is flipped on the disk. Healed by putting it back."""

    node: str = ""
    file: str = "*"

    name: ClassVar[str] = "corrupt"
    colour: ClassVar[str] = "#6d4c41"

    def __post_init__(self) -> None:
        # Which bit: chosen once, when the undo is written, and the same from then on.
        object.__setattr__(self, "_chosen", [])

    def targets(self, _cluster: Cluster) -> tuple[str, ...]:
        return (self.node,)

    def check(self, cluster: Cluster) -> None:
        require(self.name, "node", self.node, cluster.plan.topology.nodes)
        if not cluster.has_files:
            raise ValueError(f"{self.name}: the files of nodes can't be reached in this runtime")

    def undo(self, cluster: Cluster) -> tuple[Undo, ...]:
        return (Undo(action="mend", subject=self.node, detail=str(self._spot(cluster))),)

    async def inject(self, cluster: Cluster) -> None:
        self._spot(cluster).flip(cluster.folder(self.node))

    async def heal(self, cluster: Cluster) -> None:
        self._spot(cluster).mend(cluster.folder(self.node))

    async def verify(self, cluster: Cluster) -> Proof:
        spot = self._spot(cluster)
        seen = spot.read(cluster.folder(self.node))
        return Proof(bit=seen == spot.flipped, seen=self._said(spot, seen))

    async def verify_healed(self, cluster: Cluster) -> Proof:
        """Where the file is gone, or another is in its place, nothing is left to heal."""
        spot = self._spot(cluster)
        seen = spot.read(cluster.folder(self.node))
        return Proof(bit=seen != spot.flipped, seen=self._said(spot, seen))

    def _spot(self, cluster: Cluster) -> Spot:
        chosen: list[Spot] = self.__dict__["_chosen"]
        if not chosen:
            try:
                chosen.append(Spot.choose(cluster.folder(self.node), self.file))
            except FileNotFoundError as error:
                raise RuntimeFailure(f"{self.name}: {self.node} has {error}") from None
        return chosen[0]

    def _said(self, spot: Spot, seen: int | None) -> str:
        now = "is gone" if seen is None else f"is {seen:#04x}"
        return f"{self.node}: byte {spot.offset} of {spot.path}, once {spot.whole:#04x}, {now}"
