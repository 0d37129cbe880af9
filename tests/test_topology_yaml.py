from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from harness.errors import SpecError, SquallError
from harness.history import Header
from harness.scenario.observe import describe_nodes, recorded_topology
from harness.topology import NamedEndpoint
from harness.topology_yaml import load_topology, merge, override, topology_of
from harness.yamlspec import loads

SUITES = Path(__file__).parent.parent / "suites" / "topologies"

SMALL = """\
name: small
program: tests.toy
regions: {us: [us-1, us-2], eu: [eu-1]}
clients: {americas: us}
nodes:
  db: {role: postgres, zone: us-1}
  api-1: {role: api, zone: us-1, settings: {retry: {jitter: 0.1}}}
  api-2: {role: api, zone: us-2}
  pop: {role: pop, zone: eu-1}
links:
  - {from: [api-1, api-2], to: db, as: db}
  - {from: pop, to: [api-2, api-1], as: origin}
  - {from: pop, to: api-1, as: stream}
  - {from: pop, to: db}
settings:
  api: {retry: {jitter: 0.3, attempts: 3}}
endpoints: {evaluate: pop, write: api-1}
"""


def make(text=SMALL):
    return topology_of(loads(text, "t.yaml"))


def complaint(old, new):
    assert old in SMALL
    with pytest.raises(SpecError) as caught:
        make(SMALL.replace(old, new))
    return str(caught.value)


def test_links_are_the_cross_product_in_order_of_preference():
    topology = make()
    assert [link.to for link in topology.links_from("pop", "origin")] == ["api-2", "api-1"]
    assert set(topology.links) == {
        "api-1->db",
        "api-2->db",
        "pop->api-2",
        "pop->api-1:origin",
        "pop->api-1:stream",
        "pop->db",
    }


def test_a_links_use_is_by_default_the_role_it_goes_to():
    assert make().links["pop->db"].use == "postgres"


def test_settings_of_a_role_lie_under_those_of_a_node():
    topology = make()
    assert topology.nodes["api-1"].settings == {"retry": {"jitter": 0.1, "attempts": 3}}
    assert topology.nodes["api-2"].settings == {"retry": {"jitter": 0.3, "attempts": 3}}


def test_a_link_may_go_to_another_port_and_roles_may_need_a_servers_programs():
    text = SMALL.replace("as: stream}", "as: stream, port: 5432}") + "needs: {postgres: [api]}\n"
    topology = make(text)
    assert topology.links["pop->api-1:stream"].port == 5432
    assert topology.links["pop->api-1:origin"].port is None
    assert [node.name for node in topology.needing("postgres")] == ["api-1", "api-2"]
    assert topology.needing("redis") == []


def test_regions_come_from_zones():
    topology = make()
    assert topology.nodes["pop"].region == "eu"
    assert {link.id for link in topology.across_border(region="eu")} == {
        link.id for link in topology.links_from("pop")
    }


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("zone: eu-1}", "zone: eu-2}", "t.yaml:9: pop: unknown zone 'eu-2'; did you mean"),
        ("as: stream}", "as: stream, port: 0}", "t.yaml:13: a port is 1 to 65535, not 0"),
        (
            "name: small",
            "name: small\nneeds: {postgress: [api]}",
            "t.yaml:2: needs: unknown server 'postgress'; did",
        ),
        (
            "name: small",
            "name: small\nneeds: {postgres: [apis]}",
            "t.yaml:2: needs: unknown role 'apis'; did you",
        ),
        ("to: db, as: db", "to: bd, as: db", "t.yaml:11: link to unknown node 'bd'; did you mean"),
        ("from: pop, to: db", "from: pub, to: db", "t.yaml:14: link from unknown node 'pub'"),
        ("from: pop, to: db", "from: db, to: db", "t.yaml:14: db can't be linked to itself"),
        (
            "from: pop, to: db}",
            "from: api-1, to: db, as: db}",
            "t.yaml:14: api-1 already has db as",
        ),
        ("americas: us", "americas: uk", "t.yaml:4: clients: unknown region 'uk'"),
        ("evaluate: pop", "evaluate: pops", "t.yaml:17: endpoints: unknown node 'pops'"),
        ("  api: {retry", "  apis: {retry", "t.yaml:16: settings: unknown role 'apis'"),
        ("[eu-1]", "[eu-1, us-1]", "t.yaml:3: zone 'us-1' is given twice"),
        ("[eu-1]", "[]", "t.yaml:3: region 'eu' has no zone"),
        ("  pop: {role", "  Pop_1: {role", "t.yaml:9: node 'Pop_1': a name has"),
        ("  pop: {role", "  db: {role", "t.yaml:9: 'db' is given twice"),
        ("program: tests.toy", "program: tests/toy.py", "t.yaml:2: 'tests/toy.py' is not the name"),
        ("name: small", "name: ../small", "t.yaml:1: topology '../small'"),
        ("name: small", "name: small\nroles: [api]", "t.yaml:10: pop: unknown role 'pop'"),
        ("links:", "link:", "t.yaml:10: unknown key 'link'; did you mean 'links'?"),
    ],
)
def test_says_what_is_wrong_and_where(old, new, expected):
    assert expected in complaint(old, new)


def test_too_many_nodes_for_one_address_range():
    many = "\n".join(f"  n{n}: {{role: pop, zone: eu-1}}" for n in range(200))
    assert "1 to 190 nodes" in complaint("links:", many + "\nlinks:")


def test_override_by_role_and_by_node():
    topology = override(
        make(), ["api.retry.jitter=0.9", "api-2.retry.jitter=[1, 2]", "pop.new.x=off"]
    )
    assert topology.nodes["api-1"].settings["retry"]["jitter"] == 0.9
    assert topology.nodes["api-2"].settings["retry"] == {"jitter": [1, 2], "attempts": 3}
    assert topology.nodes["pop"].settings == {"new": {"x": "off"}}


def test_override_leaves_the_original_alone():
    original = make()
    override(original, ["api.retry.jitter=0.9"])
    assert original.nodes["api-1"].settings["retry"]["jitter"] == 0.1


def test_override_the_program():
    assert override(make(), ["program=tests.broken.x"]).program == "tests.broken.x"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("pup.x=1", "no role or node 'pup'; did you mean 'pop'?"),
        ("pop", "write it as"),
        ("=1", "write it as"),
        ("pop=1", "which setting of 'pop'?"),
        ("pop..x=1", "which setting of 'pop'?"),
        ("api.retry.jitter.x=1", "'jitter' is a value"),
        ("api.x=[", "the value is not YAML"),
        ("program=a b", "is not the name of a Python module"),
    ],
)
def test_override_says_what_is_wrong(change, expected):
    with pytest.raises(SquallError) as caught:
        override(make(), [change])
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_merge_is_deep_and_copies():
    under = {"a": {"b": [1]}, "c": 1}
    merged = merge(under, {"a": {"d": 2}, "c": {"e": 3}})
    merged["a"]["b"].append(2)
    assert merged == {"a": {"b": [1, 2], "d": 2}, "c": {"e": 3}}
    assert under == {"a": {"b": [1]}, "c": 1}


NAMED = "{name: api.example.com, dns: [pop], candidates: [api-1, api-2], stale: 5s}"


def named(text=NAMED):
    return SMALL.replace("write: api-1}", f"write: {text}}}")


def test_an_endpoint_may_be_a_name():
    endpoints = make(named()).endpoints
    assert endpoints.write == NamedEndpoint(
        "api.example.com", ("pop",), ("api-1", "api-2"), stale=5.0
    )
    assert endpoints.named == (endpoints.write,)
    assert (endpoints.door("write"), endpoints.door("evaluate")) == ("api-1", "pop")
    assert endpoints.door("alerts") is None


def test_a_named_endpoint_comes_back_from_a_history():
    topology = make(named())
    header = Header(
        t=0, schema=1, origin=0, wall=0, scenario="s", run="r", topology=describe_nodes(topology)
    )
    read = msgspec.json.decode(msgspec.json.encode(header), type=Header)
    assert recorded_topology(read).endpoints == topology.endpoints


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("[pop]", "[pup]", "t.yaml:17: endpoints: unknown node 'pup'; did you mean"),
        ("[api-1, api-2]", "[api-3]", "t.yaml:17: endpoints: unknown node 'api-3'"),
        ("[api-1, api-2]", "[]", "t.yaml:17: endpoints: api.example.com needs at least one node"),
        ("[api-1, api-2]", "[api-1, db]", "listen on different ports"),
        ("api.example.com", "api", "t.yaml:17: endpoints: 'api' is no name such as"),
        ("api.example.com", "Api_1.example.com", "is no name such as"),
    ],
)
def test_what_a_named_endpoint_may_not_be(old, new, expected):
    with pytest.raises(SpecError) as caught:
        make(named(NAMED.replace(old, new)))
    assert expected in str(caught.value)


def test_settings_may_hold_the_address_of_a_node_that_is_there():
    assert make(SMALL.replace("{jitter: 0.1}", "{to: [{address_of: pop}]}"))
    assert "t.yaml:7: api-1: address_of: unknown node 'pup'; did you mean" in complaint(
        "{jitter: 0.1}", "{to: [{address_of: pup}]}"
    )


@pytest.mark.parametrize("path", sorted(SUITES.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_topologies_of_the_suites_are_right(path):
    topology = load_topology(path)
    assert topology.name == path.stem
    assert topology.endpoints.write
    assert {node.region for node in topology.nodes.values()} == set(topology.regions)


def test_three_regions_prefers_the_hubs_of_its_own_region():
    topology = load_topology(SUITES / "three-regions.yaml")
    assert len(topology.nodes) == 20
    assert [link.to for link in topology.links_from("pop-eu", "stream")] == [
        "hub-eu-1",
        "hub-eu-2",
        "stream-1",
        "stream-2",
    ]
    firsts = [
        topology.links_from(f"hub-{r}-{n}", "stream")[0].to
        for r in ("us", "eu", "ap")
        for n in (1, 2)
    ]
    assert firsts == ["stream-1", "stream-2"] * 3
