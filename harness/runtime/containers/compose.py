"""A topology as a Compose file: the same containers and networks as a run makes, to be brought up without squall.

Its networks are the last block of the range, which runs never claim. What a run copies into a container is written by
its own command here, from its environment.
"""

from __future__ import annotations

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
    from harness.runtime.containers.engine import Container
    from harness.topology import Topology

IMAGE = "squall-node"
LABEL = "squall.compose"  # the topology's name
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
    plan = layouts.make_plan(laid, topology, Path())
    blueprint = Blueprint(plan, laid, IMAGE, seed=0)
    ports = _ports(topology)
    proxies = [
        {"name": proxy_name(link.id), "listen": str(plan.link[link.id]), "upstream": str(plan.node[link.to]), "enabled": True}
        for link in topology.proxied.values()
    ]  # fmt: skip
    # It is on the client groups' networks too, so that they are made, and their gateways with them.
    groups = {network.name: layouts.toxiproxy_at(network) for network in laid.groups.values()}
    toxiproxy = blueprint.toxiproxy()
    toxiproxy = replace(toxiproxy, networks={**toxiproxy.networks, **groups})
    services: dict[str, dict[str, Any]] = {
        TOXIPROXY_NODE: _service(
            topology.name,
            toxiproxy,
            ports[TOXIPROXY_NODE],
            (*toxiproxy.command, "-config", f"{ROOM}/proxies.json"),
            {"proxies.json": json.dumps(proxies)},
        )
    }
    for node in topology.nodes.values():
        made = blueprint.of(node)
        files = {Path(path).name: content.decode() for path, content in made.files.items()}
        command = tuple(_moved(word, made) for word in made.command)
        service = _service(topology.name, made, ports.get(node.name, ""), command, files)
        if not node.is_server:
            service["depends_on"] = [TOXIPROXY_NODE]
        services[node.name] = service
    networks = {
        network.name: {
            "name": network.name,
            "driver_opts": {"com.docker.network.bridge.enable_ip_masquerade": "false"},
            "ipam": {"config": [{"subnet": network.subnet, "gateway": network.gateway}]},
        }
        for network in laid.networks
    }
    published = ", ".join(f"{name} at {port.rpartition(':')[0]}" for name, port in ports.items())
    head = HEADER.format(path=topology.path, image=IMAGE, published=published)
    document = {"version": "2.4", "services": services, "networks": networks}
    return head + yaml.safe_dump(document, sort_keys=False, width=120)


def _ports(topology: Topology) -> dict[str, str]:
    """What is published, by node: the endpoints and toxiproxy's control API."""
    ends = topology.endpoints
    doors = dict.fromkeys(name for name in (ends.evaluate, ends.write, ends.alerts) if name)
    published = {
        name: f"127.0.0.1:{port}:{topology.nodes[name].port}"
        for port, name in enumerate(doors, FIRST_PORT)
    }
    return {
        **published,
        TOXIPROXY_NODE: f"127.0.0.1:{layouts.TOXIPROXY_PORT}:{layouts.TOXIPROXY_PORT}",
    }


def _service(
    topology_name: str, made: Container, port: str, command: tuple[str, ...], files: dict[str, str]
) -> dict[str, Any]:
    names = {f"FILE_{number}": name for number, name in enumerate(files)}
    writes = [f'printf %s "${name}" >{ROOM}/{file}' for name, file in names.items()]
    script = " && ".join([*writes, f"exec {shlex.join(command)}"])
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
        "labels": {LABEL: topology_name, NODE: made.node, HOMES: json.dumps(made.networks)},
    }
    if files:
        service["environment"] = {name: _literal(files[file]) for name, file in names.items()}
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


def _moved(word: str, made: Container) -> str:
    """A file that a run would have copied in is in the room here."""
    return f"{ROOM}/{Path(word).name}" if word in made.files else word


def _literal(text: str) -> str:
    """Compose replaces what follows a dollar."""
    return text.replace("$", "$$")
