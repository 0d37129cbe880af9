from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from faults._common import require
from faults._whole import Whole
from faults.latency import Latency
from harness.units import Seconds

if TYPE_CHECKING:
    from harness.fault import Fault
    from harness.runtime.base import Cluster

_DATABASES = ("database", "postgres")


@dataclass(frozen=True)
class ReplicationLag(Whole):
    """What a database (or several, by `nodes`) receives of others' logs comes `lag` later, whoever is primary. Nothing is lost."""

    node: str = ""
    nodes: tuple[str, ...] = ()
    lag: Seconds = Seconds(2.0)

    name: ClassVar[str] = "replication_lag"
    colour: ClassVar[str] = "#1a5276"

    def __post_init__(self) -> None:
        Latency(latency=self.lag)  # which refuses what no link can do

    def parts(self, cluster: Cluster) -> tuple[Fault, ...]:
        topology = cluster.plan.topology
        known = [node.name for node in topology.nodes.values() if node.role in _DATABASES]
        named = tuple(dict.fromkeys(((self.node,) if self.node else ()) + self.nodes))
        if not named:
            raise ValueError(f"{self.name}: say which database")
        for node in named:
            require(self.name, "database", node, known)
        links = tuple(
            link.id for link in topology.links.values() if link.source in named and link.use == "db"
        )
        if not links:
            raise ValueError(f"{self.name}: {', '.join(named)} follows no other database")
        return (Latency(links=links, latency=self.lag),)
