from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import SquallError
from harness.runtime.containers import layout as layouts
from harness.topology import ROUTER, ClientGroup, Node
from harness.topology_yaml import load_topology
from tests.runtime import contract

TOPOLOGIES = sorted((Path(__file__).parents[3] / "suites" / "topologies").glob("*.yaml"))


@pytest.mark.parametrize("path", TOPOLOGIES, ids=lambda path: path.stem)
def test_every_address_is_one_nodes_alone_and_in_its_zones_network(path):
    topology = load_topology(path)
    layouts.check(topology)
    laid = layouts.lay_out(topology, layouts.BLOCKS[7])
    plan = layouts.make_plan(laid, topology, Path("out"))
    hosts = [address.host for address in plan.node.values()]
    assert len(set(hosts)) == len(hosts)
    taken = {network.gateway for network in laid.networks}
    taken |= set(laid.homes[layouts.TOXIPROXY_NODE].values())
    assert not taken & set(hosts)
    for name, node in topology.nodes.items():
        if node.role == ROUTER:  # it is at the anycast address, outside of all zones
            continue
        zone = IPv4Network(laid.zones[node.zone].subnet)
        assert IPv4Address(plan.node[name].host) in zone
        for link in topology.links_from(
            name
        ):  # all are proxied: it dials toxiproxy in its own zone
            assert IPv4Address(plan.link[link.id].host) in zone
    assert len({(a.host, a.port) for a in plan.link.values()}) == len(plan.link)
    for group, source in plan.client.items():
        assert source == laid.groups[group].gateway
    block = layouts.BLOCKS[7]
    assert all(IPv4Network(network.subnet).subnet_of(block) for network in laid.networks)


@given(st.integers(0, len(layouts.BLOCKS) - 1), st.integers(0, len(layouts.BLOCKS) - 1))
def test_blocks_share_nothing(a, b):
    topology = contract.topology()
    one = layouts.lay_out(topology, layouts.BLOCKS[a])
    other = layouts.lay_out(topology, layouts.BLOCKS[b])
    assert (one == other) is (a == b)
    if a != b:
        assert not {n.name for n in one.networks} & {n.name for n in other.networks}
        assert not {n.subnet for n in one.networks} & {n.subnet for n in other.networks}


def test_all_is_inside_the_benchmark_range():
    assert all(block.subnet_of(IPv4Network("198.18.0.0/15")) for block in layouts.BLOCKS)
    assert len(layouts.BLOCKS) == 126
    assert not {layouts.COMPOSE_BLOCK, layouts.SWARM_BLOCK} & set(layouts.BLOCKS)


def test_what_is_too_large_is_told():
    few = contract.topology()
    crowd = {f"n{i}": Node(f"n{i}", "toy", "z1", "r1") for i in range(61)}
    with pytest.raises(
        SquallError, match="61 nodes in zone z1; the docker runtime has room for 60"
    ):
        layouts.check(replace(few, nodes=crowd))
    groups = {f"g{i}": ClientGroup(f"g{i}", "r1") for i in range(16)}
    with pytest.raises(
        SquallError, match="1 zones, 16 client groups and 0 routes need 17 networks"
    ):
        layouts.check(replace(few, clients=groups))


def test_a_tap_is_the_hosts_and_must_be_known():
    topology = contract.topology()
    laid = layouts.lay_out(topology, layouts.BLOCKS[0])
    plan = layouts.make_plan(laid, topology, Path("out"), ("a->b",))
    assert plan.tap["a->b"].host == laid.zones["z1"].gateway
    with pytest.raises(ValueError, match="no link 'a->c' to tap"):
        layouts.make_plan(laid, topology, Path("out"), ("a->c",))
