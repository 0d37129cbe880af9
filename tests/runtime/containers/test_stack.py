"""The stack file is what the topology says, and says it as a swarm wants it."""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path

import pytest
import yaml

from harness.errors import SquallError
from harness.runtime.containers import compose, stack
from harness.runtime.containers import layout as layouts
from harness.topology_yaml import load_topology, override
from tests.conformance.support import ROOT

PATH = Path(__file__).with_name("three-machines.yaml")
SUITES = sorted((ROOT / "suites" / "topologies").glob("*.yaml"))
BY_ADDRESS = {"cold-standby", "load-distribution", "names", "regions"}
WRITTEN = [path for path in SUITES if path.stem not in {"three-regions-bgp", *BY_ADDRESS}]


def rendered(path):
    return yaml.safe_load(stack.render(load_topology(path)))


@pytest.fixture(scope="module")
def document():
    return rendered(PATH)


@pytest.fixture(scope="module")
def nodes(document):
    return {name: each for name, each in document["services"].items() if name != stack.LEG_NODE}


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.stem)
def test_it_has_what_the_compose_file_has(path):
    composed = yaml.safe_load(compose.render(load_topology(path)))["services"]
    stacked = rendered(path)["services"]
    assert set(stacked) - set(composed) == {stack.LEG_NODE}
    for name, service in composed.items():
        limits = stacked[name]["deploy"]["resources"]["limits"]
        assert int(limits["memory"]) == service["mem_limit"], name
        assert limits["pids"] == service["pids_limit"], name
        for key in ("image", "hostname", "stop_signal", "cap_drop"):
            assert stacked[name][key] == service[key], (name, key)
        labels = stacked[name]["labels"]
        assert labels["squall.settings"] == service["labels"]["squall.settings"], name
        assert set(stacked[name].get("environment", {})) == set(service.get("environment", {}))


def test_nothing_has_an_address_before_the_swarm_gives_one(nodes):
    text = json.dumps(nodes)
    groups = {"198.19.248.192", "198.19.249.0"}
    assert set(re.findall(r"198\.\d+\.\d+\.\d+", text)) == groups
    assert "ipv4_address" not in text


def test_every_node_is_where_its_zone_is_and_stays_as_it_was_left(nodes):
    topology = load_topology(PATH)
    for name, service in nodes.items():
        zone = topology.nodes[name].zone if name != "toxiproxy" else "us-east-1a"
        deploy = service["deploy"]
        assert deploy["placement"]["constraints"] == [f"node.labels.squall.zone.{zone} == yes"]
        assert deploy["restart_policy"] == {"condition": "none"}
        assert deploy["endpoint_mode"] == "dnsrr"
        assert "healthcheck" not in service
        assert "ports" not in service


def test_a_leg_on_each_machine_keeps_every_network(document):
    leg = document["services"][stack.LEG_NODE]
    assert leg["deploy"]["mode"] == "global"
    assert set(leg["networks"]) == set(document["networks"])


def test_networks_are_closed_and_nobody_elses(document):
    for network in document["networks"].values():
        assert network["driver"] == "overlay"
        assert network["internal"]
        assert network["attachable"]
        subnet = IPv4Network(network["ipam"]["config"][0]["subnet"])
        assert subnet.subnet_of(layouts.SWARM_BLOCK)


def test_only_where_users_come_to_is_in_their_networks(document):
    users = {name for name in document["networks"] if "-users-" in name}
    assert len(users) == 2
    for name, service in document["services"].items():
        assert (users & set(service["networks"]) == users) is (name in ("anycast", "leg")), name


def test_a_container_begins_with_the_addresses_that_names_have_then(nodes, tmp_path):
    """Its own command, by a shell as in the container: the names' addresses come one after the other."""
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    (bin_ / "getent").write_text(
        '#!/bin/sh\nif [ -e "$ROOM/$2" ]; then echo "198.19.248.9   STREAM $2"; else touch "$ROOM/$2"; exit 2; fi\n'
    )
    (bin_ / "getent").chmod(0o755)
    service = nodes["toxiproxy"]
    script = service["command"][2].replace("$$", "$").replace("/var/lib/squall", str(tmp_path))
    script, _, _ = script.rpartition(" && exec ")
    files = {name: text.replace("$$", "$") for name, text in service["environment"].items()}
    env = {"PATH": f"{bin_}:{os.environ['PATH']}", "ROOM": str(tmp_path), **files}
    subprocess.run(["sh", "-c", script], env=env, check=True, timeout=60)
    proxies = json.loads((tmp_path / "proxies.json").read_text())
    assert len(proxies) == len(load_topology(PATH).links)
    assert {each["upstream"].partition(":")[0] for each in proxies} == {"198.19.248.9"}


def test_what_a_stack_cannot_be():
    with pytest.raises(SquallError, match="a router needs what a Compose file can't give it"):
        rendered(ROOT / "suites" / "topologies" / "three-regions-bgp.yaml")
    for name in BY_ADDRESS:
        with pytest.raises(
            SquallError, match="nodes know others by their addresses, which a stack"
        ):
            rendered(ROOT / "suites" / "topologies" / f"{name}.yaml")
    topology = load_topology(PATH)
    with pytest.raises(SquallError, match="the program 'tests.broken.early_ack' is not in"):
        stack.render(override(topology, ["program=tests.broken.early_ack"]))
    taken = {**topology.nodes, "leg": replace(topology.nodes["hub-1"], name="leg")}
    with pytest.raises(SquallError, match="in a stack no node can be called leg"):
        stack.render(replace(topology, nodes=taken))
