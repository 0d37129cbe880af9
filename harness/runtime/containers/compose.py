"""A topology as a Compose file: the same containers and networks as a run makes, to be brought up without squall.

Its networks are the last block of the range, which runs never claim.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from harness.runtime.containers import layout as layouts
from harness.runtime.containers import written
from harness.runtime.containers.engine import HOMES, NODE
from harness.runtime.containers.layout import TOXIPROXY_NODE
from harness.runtime.containers.written import IMAGE, SETTINGS, literal, settings_digest

if TYPE_CHECKING:
    from harness.runtime.containers.engine import Container, Network
    from harness.runtime.containers.layout import Layout
    from harness.topology import Topology

LABEL = "squall.compose"  # the topology's name
FIRST_PORT = 8080
HEADER = """\
# Made by `squall compose {path}`; not to be edited.
#
#     squall image        makes {image}, once
#     docker-compose up -d
#
# Published on this machine alone: {published}.
# toxiproxy's control API is published too; its proxies are named after the links: "pop-us->hub-us-1" is
# "pop-us-hub-us-1.<digest>".
"""


def render(topology: Topology) -> str:
    """The file's text. Raises `SquallError` for a topology that Compose can't bring up."""
    written.check(topology)
    laid = layouts.lay_out(topology, layouts.COMPOSE_BLOCK)
    ports = _ports(topology)
    published = ", ".join(f"{name} at {port.rpartition(':')[0]}" for name, port in ports.items())
    document = {
        "version": "2.4",
        "services": _services(topology, laid, ports),
        "networks": {network.name: _network(network) for network in laid.networks},
    }
    head = HEADER.format(path=topology.path, image=IMAGE, published=published)
    return head + yaml.safe_dump(document, sort_keys=False, width=120)


def _services(topology: Topology, laid: Layout, ports: dict[str, str]) -> dict[str, dict[str, Any]]:
    plan = layouts.make_plan(laid, topology, Path())
    links = {
        link.id: (plan.link[link.id], plan.far_end(link)) for link in topology.proxied.values()
    }
    toxiproxy, *nodes = written.containers(plan, laid, links)
    made = [_in_groups(toxiproxy, laid), *nodes]
    services = {each.node: _service(topology, each, ports.get(each.node, "")) for each in made}
    for node in topology.nodes.values():
        if not node.is_server:
            services[node.name]["depends_on"] = [TOXIPROXY_NODE]
    return services


def _in_groups(toxiproxy: Container, laid: Layout) -> Container:
    """On the client groups' networks too, so that these and their gateways are made."""
    groups = {network.name: layouts.toxiproxy_at(network) for network in laid.groups.values()}
    return replace(toxiproxy, networks={**toxiproxy.networks, **groups})


def _network(network: Network) -> dict[str, Any]:
    return {
        "name": network.name,
        "driver_opts": {"com.docker.network.bridge.enable_ip_masquerade": "false"},
        "ipam": {"config": [{"subnet": network.subnet, "gateway": network.gateway}]},
    }


def _ports(topology: Topology) -> dict[str, str]:
    """What is published, by node: the endpoints and toxiproxy's control API."""
    ends = topology.endpoints
    uses = ("evaluate", "write", "alerts")
    doors = dict.fromkeys(name for use in uses if (name := ends.door(use)))
    published = {
        name: f"127.0.0.1:{port}:{topology.nodes[name].port}"
        for port, name in enumerate(doors, FIRST_PORT)
    }
    return {
        **published,
        TOXIPROXY_NODE: f"127.0.0.1:{layouts.TOXIPROXY_PORT}:{layouts.TOXIPROXY_PORT}",
    }


def _service(topology: Topology, made: Container, port: str) -> dict[str, Any]:
    service: dict[str, Any] = {
        "image": made.image,
        "container_name": made.name,
        "hostname": made.node,
        "command": written.command(made),
        "networks": {name: {"ipv4_address": address} for name, address in made.networks.items()},
        "mem_limit": made.memory,
        "pids_limit": 512,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "stop_signal": made.stop_signal,
        "labels": {
            LABEL: topology.name,
            NODE: made.node,
            HOMES: json.dumps(made.networks),
            SETTINGS: settings_digest(topology, made.node),
        },
    }
    if made.files:
        service["environment"] = written.environment(made)
    if made.check:
        service["healthcheck"] = {
            "test": ["CMD-SHELL", literal(made.check)],
            "interval": "30s",
            "timeout": "5s",
            "retries": 3,
        }
    if port:
        service["ports"] = [port]
    return service
