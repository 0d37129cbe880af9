"""Where everything of a containerised cluster is, worked out from the topology: pure.

A cluster has a /22 of 198.18.0.0/15, the range reserved for benchmarks, split into sixteen /26: one bridge for each zone
and one for each client group. In a zone's bridge

    .1     the host: probes send from here, and recording proxies listen here
    .2     toxiproxy, with a leg in every zone: the only way from one zone to another
    .3 …   the zone's nodes

A client group's bridge has no container: its gateway, an address of the host, is the group's source address.

Where the topology has a router (role "bird"), there is a bridge for the anycast address, on which only the router is, and one for
the router and each PoP that announces it.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING

from harness.errors import SquallError
from harness.runtime.base import Address, Plan
from harness.runtime.containers.engine import Network
from harness.topology import PROGRAM_PORT, ROUTE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from harness.topology import Link, Topology

RANGE = IPv4Network("198.18.0.0/15")
BLOCK, BRIDGE = 22, 26  # prefix lengths
# The last are for what users bring up on a swarm, and by Compose.
*BLOCKS, SWARM_BLOCK, COMPOSE_BLOCK = RANGE.subnets(new_prefix=BLOCK)
BRIDGES = 2 ** (BRIDGE - BLOCK)
HOST, TOXIPROXY, FIRST_NODE, LAST_NODE = 1, 2, 3, 62
ROUTER_AT, POP_AT, ANYCAST_AT = 2, 3, 10
LINK_PORT, TAP_PORT, TOXIPROXY_PORT = 20000, 21000, 8474
TOXIPROXY_NODE = "toxiproxy"


@dataclass(frozen=True, slots=True)
class Anycast:
    """`address` is announced by each of the PoPs that `edges` has a network for, to the node `router`."""

    router: str
    address: str
    network: Network
    edges: dict[str, Network]


@dataclass(frozen=True, slots=True)
class Layout:
    """`zones`: network by zone; `groups`: network by client group; `homes`: of each node, network to address."""

    name: str
    zones: dict[str, Network]
    groups: dict[str, Network]
    homes: dict[str, dict[str, str]]
    anycast: Anycast | None = None

    @property
    def networks(self) -> list[Network]:
        routed = [self.anycast.network, *self.anycast.edges.values()] if self.anycast else []
        return [*self.zones.values(), *self.groups.values(), *routed]

    def container(self, node: str) -> str:
        """Its container's name."""
        return f"{self.name}-{node}"


def check(topology: Topology) -> None:
    """Raises `SquallError` for a topology that is too large to be laid out."""
    zones = _zones(topology)
    routes = len(topology.links) - len(topology.proxied)
    bridges = len(zones) + len(topology.clients) + (routes + 1 if routes else 0)
    if bridges > BRIDGES:
        raise SquallError(
            f"{topology.path}: {len(zones)} zones, {len(topology.clients)} client groups and {routes} routes need "
            f"{bridges} networks; the docker runtime has {BRIDGES}"
        )
    most = LAST_NODE - FIRST_NODE + 1
    for zone in zones:
        count = sum(node.zone == zone for node in topology.nodes.values())
        if count > most:
            raise SquallError(
                f"{topology.path}: {count} nodes in zone {zone}; the docker runtime has room for {most} in each"
            )


def lay_out(topology: Topology, block: IPv4Network) -> Layout:
    name = "squall-" + str(block.network_address).replace(".", "-")
    zones = _zones(topology)
    edges = [f"edge-{link.to}" for link in _routes(topology)]
    wanted = [*zones, *(f"users-{group}" for group in topology.clients)]
    wanted += ["anycast", *edges] if edges else []
    bridges = [
        Network(f"{name}-{each}", str(subnet), str(subnet[HOST]))
        for each, subnet in zip(wanted, block.subnets(new_prefix=BRIDGE), strict=False)
    ]
    by_zone = dict(zip(zones, bridges, strict=False))
    homes: dict[str, dict[str, str]] = {
        TOXIPROXY_NODE: {bridge.name: _at(bridge, TOXIPROXY) for bridge in by_zone.values()}
    }
    taken = dict.fromkeys(zones, FIRST_NODE)
    for node in topology.nodes.values():
        bridge = by_zone[node.zone]
        homes[node.name] = {bridge.name: _at(bridge, taken[node.zone])}
        taken[node.zone] += 1
    groups = dict(zip(topology.clients, bridges[len(zones) :], strict=False))
    anycast = _anycast(topology, bridges[len(zones) + len(groups) :], homes)
    return Layout(name, by_zone, groups, homes, anycast)


def _routes(topology: Topology) -> list[Link]:
    return [link for link in topology.links.values() if link.use == ROUTE]


def _anycast(
    topology: Topology, bridges: list[Network], homes: dict[str, dict[str, str]]
) -> Anycast | None:
    """Adds the homes of the router and of the PoPs behind it."""
    routes = _routes(topology)
    if not routes:
        return None
    router, network = routes[0].source, bridges[0]
    edges = dict(zip((link.to for link in routes), bridges[1:], strict=True))
    homes[router] = {bridge.name: _at(bridge, ROUTER_AT) for bridge in bridges}
    for pop, edge in edges.items():
        homes[pop][edge.name] = _at(edge, POP_AT)
    return Anycast(router, _at(network, ANYCAST_AT), network, edges)


def make_plan(
    layout: Layout, topology: Topology, state_dir: Path, taps: Sequence[str] = ()
) -> Plan:
    """Raises ValueError for a tap on an unknown link."""
    unknown = set(taps) - set(topology.links)
    if unknown:
        raise ValueError(f"no link '{min(unknown)}' to tap")
    first = next(iter(layout.zones.values()))
    nodes = topology.nodes
    node = {
        name: Address(next(iter(layout.homes[name].values())), node.port)
        for name, node in nodes.items()
    }
    toxiproxy = layout.homes[TOXIPROXY_NODE]
    link = {
        link.id: Address(toxiproxy[layout.zones[nodes[link.source].zone].name], port)
        for port, link in enumerate(topology.links.values(), LINK_PORT)
    }
    if layout.anycast is not None:
        node[layout.anycast.router] = Address(layout.anycast.address, PROGRAM_PORT)
        link |= {
            route.id: Address(_at(layout.anycast.edges[route.to], POP_AT), PROGRAM_PORT)
            for route in _routes(topology)
        }
    return Plan(
        topology=topology,
        state_dir=state_dir,
        node=node,
        link=link,
        tap={
            link: Address(first.gateway, port)
            for port, link in enumerate(dict.fromkeys(taps), TAP_PORT)
        },
        client={group: network.gateway for group, network in layout.groups.items()},
        toxiproxy=Address(toxiproxy[first.name], TOXIPROXY_PORT),
    )


def _zones(topology: Topology) -> list[str]:
    """Those that have nodes, in the topology's order."""
    used = {node.zone for node in topology.nodes.values()}
    return [zone for zones in topology.regions.values() for zone in zones if zone in used]


def _at(bridge: Network, number: int) -> str:
    return str(IPv4Address(int(IPv4Network(bridge.subnet).network_address) + number))


def toxiproxy_at(network: Network) -> str:
    return _at(network, TOXIPROXY)
