"""Faults of links: subclasses name their toxics, and say how one link shows them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from faults import _common
from faults._common import combined, far_door, link_door, require, shown, together
from harness.fault import Proof, Undo
from harness.network.reach import probe

if TYPE_CHECKING:
    from harness.network.base import Toxic
    from harness.runtime.base import Cluster
    from harness.topology import Link, Topology


@dataclass(frozen=True)
class LinkFault:
    """One `link` or several `links` by id; or all that go `from_` one node or role (or several) `to` another, of one `use`.

    Two faults of one kind must not be on the same link at the same time: healing the first would heal both.
    """

    link: str = ""
    links: tuple[str, ...] = ()
    from_: str | tuple[str, ...] = ""
    to: str | tuple[str, ...] = ""
    use: str = ""

    name: ClassVar[str]

    # ------------------------------------------------------------------------------------------- which links

    def targets(self, cluster: Cluster) -> tuple[str, ...]:
        named = ((self.link,) if self.link else ()) + self.links
        return tuple(dict.fromkeys((*named, *self._selected(cluster.plan.topology))))

    def check(self, cluster: Cluster) -> None:
        topology = cluster.plan.topology
        for name in (*_several(self.from_), *_several(self.to)):
            require(self.name, "node or role", name, _ends(topology))
        if self.use:
            require(self.name, "use of a link", self.use, {x.use for x in topology.links.values()})
        for link in self.targets(cluster):
            require(self.name, "link", link, topology.links)
            if link not in topology.proxied:
                raise ValueError(
                    f"{self.name}: {link} is a route, not a connection; disconnect its node instead"
                )
        if not self.targets(cluster):
            asked = self.from_ or self.to or self.use
            raise ValueError(
                f"{self.name}: " + ("no link is like that" if asked else "say which link")
            )

    def _selected(self, topology: Topology) -> list[str]:
        def fits(link: Link) -> bool:
            return (
                _is(topology, link.source, self.from_)
                and _is(topology, link.to, self.to)
                and self.use in ("", link.use)
            )

        if not (self.from_ or self.to or self.use):
            return []
        return [link.id for link in topology.links.values() if fits(link)]

    # -------------------------------------------------------------------------------------------- what is done

    def toxics(self) -> tuple[Toxic, ...]:
        raise NotImplementedError

    def undo(self, cluster: Cluster) -> tuple[Undo, ...]:
        return tuple(
            Undo(action="remove-toxic", subject=link, detail=toxic.name)
            for link in self.targets(cluster)
            for toxic in self.toxics()
        )

    async def inject(self, cluster: Cluster) -> None:
        await together(self.hurt(cluster, link) for link in self.targets(cluster))

    async def heal(self, cluster: Cluster) -> None:
        await together(self.mend(cluster, link) for link in self.targets(cluster))

    async def hurt(self, cluster: Cluster, link: str) -> None:
        for toxic in self.toxics():
            await cluster.network.add(link, toxic)

    async def mend(self, cluster: Cluster, link: str) -> None:
        for toxic in self.toxics():
            await cluster.network.remove(link, toxic.name)

    # --------------------------------------------------------------------------------------------- what is seen

    async def verify(self, cluster: Cluster) -> Proof:
        async def look() -> Proof:
            return combined(await together(self.hurts(cluster, x) for x in self.targets(cluster)))

        return await shown(look, _common.VERIFY_WITHIN)

    async def verify_healed(self, cluster: Cluster) -> Proof:
        async def look() -> Proof:
            return combined(await together(self.mends(cluster, x) for x in self.targets(cluster)))

        return await shown(look, _common.HEAL_WITHIN)

    async def hurts(self, cluster: Cluster, link: str) -> Proof:
        raise NotImplementedError

    async def mends(self, cluster: Cluster, link: str) -> Proof:
        """Something answers through the link; or its far end answers nobody, and the link carries that."""
        reach = await probe(*link_door(cluster, link), _common.SILENCE)
        if reach.answered or reach.error not in ("closed", "reset"):
            return Proof(bit=reach.answered, seen=f"{link}: {reach}")
        direct = await probe(*far_door(cluster, link), _common.SILENCE)
        seen = f"{link}: {reach}; {cluster.plan.topology.links[link].to} itself: {direct}"
        return Proof(bit=not direct.connected, seen=seen)


async def silent(cluster: Cluster, link: str, *, may_close: bool = False) -> Proof:
    """The link accepts and nothing comes back, while its far end answers whoever asks it directly.

    `may_close`: the connection may also end, for toxiproxy swallows bytes but passes the end of a connection on.
    """
    through = await probe(*link_door(cluster, link), _common.SILENCE)
    to = cluster.plan.topology.links[link].to
    direct = await probe(*far_door(cluster, link), _common.SILENCE)
    nothing = through.error == "timeout" or (may_close and through.error in ("closed", "reset"))
    bit = through.connected and nothing and direct.answered
    return Proof(bit=bit, seen=f"{link}: {through}; {to} itself: {direct}")


def _several(names: str | tuple[str, ...]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) and names else tuple(names)


def _ends(topology: Topology) -> set[str]:
    return set(topology.nodes) | {node.role for node in topology.nodes.values()}


def _is(topology: Topology, node: str, wanted: str | tuple[str, ...]) -> bool:
    names = _several(wanted)
    return not names or node in names or topology.nodes[node].role in names
