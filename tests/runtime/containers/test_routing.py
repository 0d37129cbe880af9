"""What the router and the PoPs are told, and topologies with a router that can't be."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import SpecError, SquallError
from harness.runtime.containers import layout as layouts
from harness.runtime.containers import routing
from harness.runtime.session import prepare
from harness.topology_yaml import load_topology

SUITES = Path(__file__).parents[3] / "suites"
BGP = SUITES / "topologies" / "three-regions-bgp.yaml"


@pytest.fixture(scope="module")
def topology():
    return load_topology(BGP)


@pytest.fixture(scope="module")
def laid(topology):
    return layouts.lay_out(topology, layouts.BLOCKS[3])


def router(topology, **settings):
    node = topology.nodes["anycast"]
    return replace(node, settings={**node.settings, **settings})


def told_router(topology, laid):
    settings = routing.settings_of(topology.nodes["anycast"], topology)
    return json.loads(routing.router_file(laid, settings))


def test_the_address_belongs_to_no_container(topology, laid):
    plan = layouts.make_plan(laid, topology, Path("out"))
    assert plan.node["anycast"].host == laid.anycast.address
    given = [address for homes in laid.homes.values() for address in homes.values()]
    assert laid.anycast.address not in given
    assert len(set(given)) == len(given)


def test_each_pop_shares_a_network_with_the_router_alone(topology, laid):
    for pop, edge in laid.anycast.edges.items():
        on_it = {node for node, homes in laid.homes.items() if edge.name in homes}
        assert on_it == {"anycast", pop}


def test_each_group_prefers_its_own_order(topology, laid):
    conf = told_router(topology, laid)["bird"]
    tables = re.findall(
        r"ipv4 table t(\d+);  # (\S+)\n.*\n.*?(if proto = .*) else reject; accept", conf
    )
    orders = {
        group: [pop for _, pop in sorted(
            ((-int(place), pop) for pop, place in re.findall(r'"(\w+)" then preference = (\d+)', choice))
        )]
        for _, group, choice in tables
    }  # fmt: skip
    assert orders == {
        "americas": ["pop_pop_us", "pop_pop_eu", "pop_pop_ap"],
        "europe": ["pop_pop_eu", "pop_pop_us", "pop_pop_ap"],
        "asia-pacific": ["pop_pop_ap", "pop_pop_us", "pop_pop_eu"],
    }


def test_every_groups_addresses_have_a_table_and_a_way_back(topology, laid):
    told = told_router(topology, laid)
    for group in laid.groups.values():
        assert group.subnet in told["tables"]
        assert f"route {group.subnet} via {laid.anycast.network.gateway};" in told["bird"]
    assert len(set(told["tables"].values())) == len(laid.groups)


def test_a_pop_announces_the_address_and_starts_its_program(topology, laid):
    settings = routing.settings_of(topology.nodes["anycast"], topology)
    told = json.loads(routing.pop_file(laid, "pop-eu", settings, ("python", "x")))
    assert told["program"] == ["python", "x"]
    assert f"route {laid.anycast.address}/32 blackhole" in told["bird"]
    assert "min rx interval 30 ms" in told["bird"]
    assert "multiplier 3" in told["bird"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"nearst": {}}, "unknown setting 'nearst'; did you mean 'nearest'"),
        ({"nearest": {"europa": []}}, "no client group 'europa'; did you mean 'europe'"),
        ({"nearest": {"europe": ["pop-ue"]}}, "no route to 'pop-ue'; did you mean"),
        ({"interval": 0.0001}, "interval is 0.005 to 10 s"),
        ({"multiplier": 0}, "multiplier 1 to 50"),
    ],
)
def test_settings_that_cannot_be(topology, settings, said):
    with pytest.raises(SquallError, match=said):
        routing.settings_of(router(topology, **settings), topology)


def test_processes_have_no_router(topology):
    with pytest.raises(SquallError, match="anycast is a router, .*use --runtime docker"):
        prepare("process", [topology])


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("to: [pop-us, pop-eu, pop-ap], as: route", "to: pop-us, as: backend", "a bird has links as 'route'"),
        ("to: [pop-us, pop-eu, pop-ap], as: route", "to: kv-us, as: route", "kv-us .redis. can't announce"),
        ("{from: api-lb, to: [api-1, api-2], as: backend}", "{from: api-lb, to: api-1, as: route}", "nobody else has"),
    ],
)  # fmt: skip
def test_routes_that_cannot_be(tmp_path, old, new, said):
    text = BGP.read_text()
    assert old in text
    path = tmp_path / "t.yaml"
    path.write_text(text.replace(old, new))
    with pytest.raises(SpecError, match=said):
        load_topology(path)
