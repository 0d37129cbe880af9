"""What a platform is made of: nodes in zones in regions, and the links by which they call each other. Plain data.

A link has a direction (who dials whom) and a `use`, the name by which the dialling node's program knows it
("hub", "db", "kv" …). Links of one node with the same use are in order of preference.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from harness.units import Seconds


class Role(StrEnum):
    """How the runtime starts a node. PROGRAM roles are run by the topology's program; the others are real servers."""

    POSTGRES = "postgres"
    REDIS = "redis"
    BIRD = "bird"
    PROGRAM = "program"


# The roles of the platform's own program are whatever the topology names; only the servers are known to the engine.
SERVER_PORTS = {"postgres": 5432, "redis": 6379, "bird": 8080}
PROGRAM_PORT = 8080
DNS_PORT = 5353
# A router (BIRD): its links are no connections but routes, which their targets announce by BGP.
ROUTER, ROUTE = "bird", "route"


@dataclass(frozen=True, slots=True)
class Node:
    name: str
    role: str  # "postgres", "redis", or a role of the platform's program ("pop", "hub", "api" …)
    zone: str
    region: str
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def port(self) -> int:
        return SERVER_PORTS.get(self.role, PROGRAM_PORT)

    @property
    def is_server(self) -> bool:
        """True for PostgreSQL, Redis and BIRD, which the runtime knows how to start; else the platform's program runs it."""
        return self.role in SERVER_PORTS


@dataclass(frozen=True, slots=True)
class Link:
    """`source` dials `to`. `id` is "source->to" (or "source->to:use" where one pair has two uses).

    `port`: of the target node; None for that of its role.
    """

    id: str
    source: str
    to: str
    use: str
    port: int | None = None


@dataclass(frozen=True, slots=True)
class ClientGroup:
    """Users of one part of the world: their traffic enters with a source address of their own."""

    name: str  # "americas", "europe", "asia-pacific"
    region: str  # the platform region nearest to them


@dataclass(frozen=True, slots=True)
class NamedEndpoint:
    """A door that clients find by its name: they ask the nodes `dns`, most preferred first, and keep each answer for its TTL.

    `candidates`: the nodes that the name may lead to, all on the same port; no client follows it elsewhere.
    `timeout` in s for each server. Where none answers, what is known is used for `stale` s beyond its TTL (RFC 8767), and
    servers are asked again after `recheck` s. `port` is that of the servers.
    """

    name: str
    dns: tuple[str, ...]
    candidates: tuple[str, ...]
    port: int = DNS_PORT
    timeout: Seconds = Seconds(0.3)
    stale: Seconds = Seconds(60.0)
    recheck: Seconds = Seconds(1.0)


@dataclass(frozen=True, slots=True)
class Endpoints:
    """What answers what a suite may ask of a platform: a node, or a name; None where the platform cannot do it."""

    evaluate: str | NamedEndpoint | None = None  # the node users reach, e.g. the anycast front
    write: str | NamedEndpoint | None = None
    alerts: str | None = None

    @property
    def named(self) -> tuple[NamedEndpoint, ...]:
        return tuple(one for one in (self.evaluate, self.write) if isinstance(one, NamedEndpoint))

    def door(self, use: str) -> str | None:
        """The node that answers `use` ("evaluate", "write", "alerts") when all is well."""
        found: str | NamedEndpoint | None = getattr(self, use)
        return found.candidates[0] if isinstance(found, NamedEndpoint) else found


@dataclass(frozen=True, slots=True)
class Topology:
    name: str
    program: (
        str  # Python module with `main(argv: list[str]) -> None`, given the path of a node's config
    )
    regions: dict[str, tuple[str, ...]]  # region -> its zones
    nodes: dict[str, Node]
    links: dict[str, Link]
    clients: dict[str, ClientGroup]
    endpoints: Endpoints
    path: str = "<memory>"
    needs: dict[str, tuple[str, ...]] = field(
        default_factory=dict
    )  # server -> roles of the program

    def links_from(self, node: str, use: str | None = None) -> list[Link]:
        return [
            link for link in self.links.values() if link.source == node and use in (None, link.use)
        ]

    @property
    def proxied(self) -> dict[str, Link]:
        """The links that are connections, each through a proxy of its own."""
        return {name: link for name, link in self.links.items() if link.use != ROUTE}

    def routes_to(self, node: str) -> list[Link]:
        """The links by which a router sends users to it."""
        return [x for x in self.links.values() if x.use == ROUTE and x.to == node]

    def links_of(self, node: str) -> list[Link]:
        return [link for link in self.links.values() if node in (link.source, link.to)]

    def needing(self, server: str) -> list[Node]:
        """The program's nodes that call that server's own programs (``pg_basebackup`` …), and find them on their PATH."""
        return [node for node in self.nodes.values() if node.role in self.needs.get(server, ())]

    @property
    def weight(self) -> int:
        """How many lanes of a run its cluster takes: databases that replicate are most of the work of a cluster.

        Of others, two take a lane.
        """
        return max(1, len(self.needing("postgres")) + len(self.nodes_of("postgres")) // 2)

    def nodes_of(self, role: str) -> list[Node]:
        return [node for node in self.nodes.values() if node.role == role]

    def across_border(self, *, zone: str | None = None, region: str | None = None) -> list[Link]:
        """All links with exactly one end inside the zone or region. Exactly one of the two must be given."""
        if (zone is None) == (region is None):
            raise ValueError("give a zone or a region")

        def inside(name: str) -> bool:
            node = self.nodes[name]
            return node.zone == zone if zone is not None else node.region == region

        return [link for link in self.links.values() if inside(link.source) != inside(link.to)]
