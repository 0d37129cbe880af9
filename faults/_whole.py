"""Faults that are made of others: subclasses say of which, for this cluster."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar

from faults._common import combined, together
from faults.blackhole import Blackhole
from faults.crash import Crash
from faults.cut import Cut
from faults.disconnect import Disconnect
from faults.hang import Hang

if TYPE_CHECKING:
    from harness.fault import Fault, Proof, Undo
    from harness.runtime.base import Cluster


class Severing(StrEnum):
    """How links fail: callers are told at once, or not at all."""

    CUT = "cut"
    BLACKHOLE = "blackhole"


class Loss(StrEnum):
    """How a node is lost: its process dies, stops in mid-step, or runs on where no link reaches."""

    CRASH = "crash"
    HANG = "hang"
    ISOLATION = "isolation"


class Whole:
    name: ClassVar[str]

    def parts(self, cluster: Cluster) -> tuple[Fault, ...]:
        """What it is made of here. Raises ValueError with one clear line when there is no such thing here."""
        raise NotImplementedError

    def targets(self, cluster: Cluster) -> tuple[str, ...]:
        names = [name for part in self.parts(cluster) for name in part.targets(cluster)]
        return tuple(dict.fromkeys(names))

    def check(self, cluster: Cluster) -> None:
        for part in self.parts(cluster):
            try:
                part.check(cluster)
            except ValueError as error:
                raise ValueError(f"{self.name}: {error}") from error

    def undo(self, cluster: Cluster) -> tuple[Undo, ...]:
        return tuple(each for part in self.parts(cluster) for each in part.undo(cluster))

    async def inject(self, cluster: Cluster) -> None:
        await together(part.inject(cluster) for part in self.parts(cluster))

    async def verify(self, cluster: Cluster) -> Proof:
        return combined(await together(part.verify(cluster) for part in self.parts(cluster)))

    async def heal(self, cluster: Cluster) -> None:
        await together(part.heal(cluster) for part in self.parts(cluster))

    async def verify_healed(self, cluster: Cluster) -> Proof:
        return combined(await together(part.verify_healed(cluster) for part in self.parts(cluster)))


def severed(links: tuple[str, ...], how: Severing) -> Fault:
    return Cut(links=links) if how is Severing.CUT else Blackhole(links=links)


def all_lost(kind: str, nodes: tuple[str, ...], mode: Loss) -> Fault:
    """The loss of the processes of many nodes at once."""
    if not nodes:
        raise ValueError(f"{kind}: there are no nodes in it")
    return Crash(nodes=nodes) if mode is Loss.CRASH else Hang(nodes=nodes)


def lost(kind: str, cluster: Cluster, node: str, mode: Loss) -> tuple[Fault, ...]:
    """The loss of one node. Isolated means that its links swallow everything, as in a partition; where a router sends
    users to it, that it has no interface.
    """
    if mode is Loss.CRASH:
        return (Crash(node),)
    if mode is Loss.HANG:
        return (Hang(node),)
    if cluster.plan.topology.routes_to(node):  # users reach it past all proxies
        return (Disconnect(node),)
    links = tuple(link.id for link in cluster.plan.topology.links_of(node))
    if not links:
        raise ValueError(f"{kind}: '{node}' has no links to be isolated from")
    return (Blackhole(links=links),)
