from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from faults._common import require
from faults._whole import Loss, Whole, all_lost

if TYPE_CHECKING:
    from harness.fault import Fault
    from harness.runtime.base import Cluster


@dataclass(frozen=True)
class DnsLoss(Whole):
    """All DNS servers (or those named) are lost at once: they crash or hang. Names are what whoever asked before knows."""

    mode: Loss = Loss.CRASH
    nodes: tuple[str, ...] = ()

    name: ClassVar[str] = "dns_loss"
    colour: ClassVar[str] = "#5d6d7e"

    def __post_init__(self) -> None:
        if self.mode is Loss.ISOLATION:
            raise ValueError(
                "dns_loss: clients ask DNS servers past all links; use the mode crash or hang"
            )

    def parts(self, cluster: Cluster) -> tuple[Fault, ...]:
        known = tuple(node.name for node in cluster.plan.topology.nodes_of("dns"))
        for node in self.nodes:
            require(self.name, "DNS server", node, known)
        return (all_lost(self.name, self.nodes or known, self.mode),)
