"""A topology as a Compose file: the same containers and networks as a run makes, to be brought up without squall.

Its networks are the last block of the range, which runs never claim. What a run copies into a container is written by
its own command here, from its environment.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from harness.errors import SquallError
from harness.network.toxiproxy import proxy_name
from harness.runtime.containers import layout as layouts
from harness.runtime.containers.blueprint import IN_IMAGE, Blueprint
from harness.runtime.containers.engine import HOMES, NODE
from harness.runtime.containers.layout import TOXIPROXY_NODE
from harness.topology import ROUTER

if TYPE_CHECKING:
    from harness.runtime.base import Plan
    from harness.runtime.containers.engine import Container, Network
    from harness.runtime.containers.layout import Layout
    from harness.topology import Topology

IMAGE = "squall-node"
LABEL, SETTINGS = "squall.compose", "squall.settings"  # the topology's name; of the node
FIRST_PORT = 8080
ROOM = "/var/lib/squall"  # the image's user may write there
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
    if topology.nodes_of(ROUTER):
        raise SquallError(f"{topology.path}: a router needs what a Compose file can't give it")
    if topology.program.partition(".")[0] not in IN_IMAGE:
        raise SquallError(f"{topology.path}: the program '{topology.program}' is not in the image")
    layouts.check(topology)
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


def settings_digest(topology: Topology, node: str) -> str:
    """Of the program and the node's settings: what a platform that is up can't be changed in any more."""
    found = topology.nodes.get(node)
    text = json.dumps([topology.program, found.settings if found else {}], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _services(topology: Topology, laid: Layout, ports: dict[str, str]) -> dict[str, dict[str, Any]]:
    plan = layouts.make_plan(laid, topology, Path())
    blueprint = Blueprint(plan, laid, IMAGE, seed=0)
    made = [_toxiproxy(blueprint, plan, laid)]
    made += [_unpacking(blueprint.of(node)) for node in topology.nodes.values()]
    services = {each.node: _service(topology, each, ports.get(each.node, "")) for each in made}
    for node in topology.nodes.values():
        if not node.is_server:
            services[node.name]["depends_on"] = [TOXIPROXY_NODE]
    return services


def _toxiproxy(blueprint: Blueprint, plan: Plan, laid: Layout) -> Container:
    """With its proxies from the start; and on the client groups' networks, so that these and their gateways are made."""
    proxies = [
        {
            "name": proxy_name(link.id),
            "listen": str(plan.link[link.id]),
            "upstream": str(plan.far_end(link)),
            "enabled": True,
        }
        for link in plan.topology.proxied.values()
    ]
    groups = {network.name: layouts.toxiproxy_at(network) for network in laid.groups.values()}
    made = blueprint.toxiproxy()
    return replace(
        made,
        command=(*made.command, "-config", f"{ROOM}/proxies.json"),
        networks={**made.networks, **groups},
        files={f"{ROOM}/proxies.json": json.dumps(proxies).encode()},
    )


def _unpacking(made: Container) -> Container:
    """The files that a run would copy in are in the room here, where the image's user may write."""
    moved = {path: f"{ROOM}/{Path(path).name}" for path in made.files}
    return replace(
        made,
        command=tuple(moved.get(word, word) for word in made.command),
        files={moved[path]: content for path, content in made.files.items()},
    )


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
    names = {f"FILE_{number}": path for number, path in enumerate(made.files)}
    writes = [f'printf %s "${name}" >{path}' for name, path in names.items()]
    script = " && ".join([*writes, f"exec {shlex.join(made.command)}"])
    service: dict[str, Any] = {
        "image": made.image,
        "container_name": made.name,
        "hostname": made.node,
        "command": ["sh", "-c", _literal(script)],
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
    if names:
        service["environment"] = {
            name: _literal(made.files[path].decode()) for name, path in names.items()
        }
    if made.check:
        service["healthcheck"] = {
            "test": ["CMD-SHELL", _literal(made.check)],
            "interval": "30s",
            "timeout": "5s",
            "retries": 3,
        }
    if port:
        service["ports"] = [port]
    return service


def _literal(text: str) -> str:
    """Compose replaces what follows a dollar."""
    return text.replace("$", "$$")
