from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar

from faults._whole import Whole
from faults.blackhole import Blackhole
from faults.crash import Crash
from faults.cut import Cut
from faults.hang import Hang

if TYPE_CHECKING:
    from faults._links import LinkFault
    from harness.fault import Fault
    from harness.runtime.base import Cluster


class Answer(StrEnum):
    """What whoever calls the lost origin gets: a refusal at once, or nothing."""

    REFUSED = "refused"
    HANG = "hang"


class What(StrEnum):
    LINKS = "links"
    NODES = "nodes"


@dataclass(frozen=True)
class OriginLoss(Whole):
    """The edge loses the origin: its links to it fail, or (`what: nodes`) the origin's own processes do.

    `edge` and `origin` are nodes or roles.
    """

    mode: Answer = Answer.REFUSED
    what: What = What.LINKS
    edge: tuple[str, ...] = ("pop", "hub")
    origin: tuple[str, ...] = ("api", "balancer", "stream")

    name: ClassVar[str] = "origin_loss"
    colour: ClassVar[str] = "#6c3483"

    def parts(self, cluster: Cluster) -> tuple[Fault, ...]:
        refused = self.mode is Answer.REFUSED
        if self.what is What.LINKS:
            edge, origin = self._here(cluster, self.edge), self._here(cluster, self.origin)
            kind: type[LinkFault] = Cut if refused else Blackhole
            return (kind(from_=edge, to=origin),)  # type: ignore[return-value]
        nodes = self._here(cluster, self.origin)
        return (Crash(nodes=nodes) if refused else Hang(nodes=nodes),)

    def _here(self, cluster: Cluster, wanted: tuple[str, ...]) -> tuple[str, ...]:
        """The nodes that are meant: a role that this cluster does without is no error, to have none of them is."""
        nodes = cluster.plan.topology.nodes.values()
        found = tuple(node.name for node in nodes if node.name in wanted or node.role in wanted)
        if not found:
            raise ValueError(f"{self.name}: no node or role is called {' or '.join(wanted)}")
        return found
