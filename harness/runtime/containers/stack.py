"""A topology as a stack file, for `docker stack deploy` on a swarm of several machines.

The same containers as in the Compose file, but that a swarm chooses machines by their labels, and addresses by itself. Its
names are for the first time only: it forgets that of a task that was killed and started again, while the address stays. So
each container asks for the addresses that it needs when it begins, waiting until the swarm has them.

Nothing is replaced behind the harness's back: a task that was killed stays as it is (`restart_policy: none`), and there are no
health checks, for the swarm would kill what hangs. On each machine one more container, the leg, is in all networks: an engine
removes a network that no running task is in, and what was killed could not be started again. In the leg's network on its own
machine is where `squall run` measures from.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from harness.errors import SquallError
from harness.placeholders import nodes_named
from harness.runtime.base import Address, Plan
from harness.runtime.containers import layout as layouts
from harness.runtime.containers import written
from harness.runtime.containers.engine import NODE
from harness.runtime.containers.layout import TOXIPROXY_NODE, TOXIPROXY_PORT
from harness.runtime.containers.written import IMAGE, SETTINGS, settings_digest

if TYPE_CHECKING:
    from harness.runtime.containers.engine import Container, Network
    from harness.runtime.containers.layout import Layout
    from harness.topology import Topology

STACK = "squall.stack"  # label: the topology's name
LEG_NODE = "leg"
MACHINE = "squall.machine"  # label of machines
ANY = "0.0.0.0"  # noqa: S104 - in the stack's own networks
HEADER = """\
# Made by `squall compose --swarm {path}`; not to be edited.
#
#     docker node update --label-add squall.machine=yes --label-add squall.zone.{zone}=yes MACHINE
#     squall image                                     makes {image}; docker save and load bring it to the other machines
#     docker stack deploy -c stack.yaml squall         on a manager
#     squall run --runtime swarm …                     as root on one of the machines
#
# Each of these zones is a label of at least one machine, and a machine may have several:
#     {zones}
# Nothing is published. toxiproxy's proxies are named after the links: "pop-us->hub-us-1" is "pop-us-hub-us-1.<digest>".
"""


def render(topology: Topology) -> str:
    """The file's text. Raises `SquallError` for a topology that a stack can't be."""
    written.check(topology)
    if taken := {LEG_NODE, TOXIPROXY_NODE} & set(topology.nodes):
        raise SquallError(f"{topology.path}: in a stack no node can be called {min(taken)}")
    settings = [node.settings for node in topology.nodes.values()]
    if topology.endpoints.named or any(nodes_named(settings)):
        raise SquallError(
            f"{topology.path}: nodes know others by their addresses, which a stack has not before it is up"
        )
    laid = layouts.lay_out(topology, layouts.SWARM_BLOCK)
    document = {
        "version": "3.9",
        "services": _services(topology, laid),
        "networks": {network.name: _network(network) for network in laid.networks},
    }
    zones = list(laid.zones)
    head = HEADER.format(path=topology.path, image=IMAGE, zone=zones[0], zones=", ".join(zones))
    return head + yaml.safe_dump(document, sort_keys=False, width=120)


def _services(topology: Topology, laid: Layout) -> dict[str, dict[str, Any]]:
    plan = _plan(topology, laid)
    links = {
        link.id: (Address(ANY, plan.link[link.id].port), _named(link.to, plan.far_end(link).port))
        for link in topology.proxied.values()
    }
    toxiproxy, *nodes = written.containers(plan, laid, links)
    zones = {node.name: node.zone for node in topology.nodes.values()}
    zones[TOXIPROXY_NODE] = next(iter(laid.zones))
    services = {
        each.node: _service(topology, each, _networks(topology, laid, each), zones[each.node])
        for each in (toxiproxy, *nodes)
    }
    return {**services, LEG_NODE: _leg(topology, laid)}


def _plan(topology: Topology, laid: Layout) -> Plan:
    """Everybody listens everywhere and dials toxiproxy by its name; a client group is a whole network."""
    ports = layouts.make_plan(laid, topology, Path())
    return Plan(
        topology=topology,
        state_dir=Path(),
        node={name: Address(ANY, at.port) for name, at in ports.node.items()},
        link={link: _named(TOXIPROXY_NODE, at.port) for link, at in ports.link.items()},
        tap={},
        client={group: network.subnet for group, network in laid.groups.items()},
        toxiproxy=Address(ANY, TOXIPROXY_PORT),
    )


def _named(node: str, port: int) -> Address:
    return Address(f"@{node}@", port)


def _addresses(made: Container) -> str:
    """Puts the address of each name in the place of "@name@" in its files."""
    commands = []
    for path, text in made.files.items():
        if names := sorted(set(re.findall(r"@([\w-]+)@", text.decode()))):
            found = "until a=$(getent ahostsv4 $n); do sleep 0.1; done"
            put = f'sed -i "s/@$n@/${{a%% *}}/g" {path}'
            commands.append(f"for n in {' '.join(names)}; do {found}; {put}; done")
    return " && ".join(commands)


def _networks(topology: Topology, laid: Layout, made: Container) -> list[str]:
    """Where users come to is in their networks too, for no machine routes from one network to another."""
    groups = laid.groups.values() if made.node == topology.endpoints.door("evaluate") else ()
    return [*made.networks, *(network.name for network in groups)]


def _service(topology: Topology, made: Container, networks: list[str], zone: str) -> dict[str, Any]:
    service = _plain(topology, made.node, networks)
    service |= {
        "command": written.command(made, _addresses(made)),
        "hostname": made.node,
        "stop_signal": made.stop_signal,
    }
    if made.files:
        service["environment"] = written.environment(made)
    service["deploy"] |= {
        "placement": {"constraints": [f"node.labels.squall.zone.{zone} == yes"]},
        "resources": {"limits": {"memory": str(made.memory), "pids": 512}},
        "restart_policy": {"condition": "none"},
        # A changed service's task has a new address, which the links that lead to it don't know.
        "update_config": {"order": "stop-first", "failure_action": "pause"},
    }
    return service


def _leg(topology: Topology, laid: Layout) -> dict[str, Any]:
    service = _plain(topology, LEG_NODE, [network.name for network in laid.networks])
    service |= {"command": ["sleep", "infinity"], "stop_signal": "SIGKILL"}
    service["deploy"] |= {
        "mode": "global",
        "placement": {"constraints": [f"node.labels.{MACHINE} == yes"]},
        "resources": {"limits": {"memory": str(2**25), "pids": 16}},
    }
    return service


def _plain(topology: Topology, node: str, networks: list[str]) -> dict[str, Any]:
    return {
        "image": IMAGE,
        "networks": networks,
        "cap_drop": ["ALL"],
        "labels": {
            STACK: topology.name,
            NODE: node,
            SETTINGS: settings_digest(topology, node),
        },
        # Every task has its own address; a virtual one would hide it, and need IPVS.
        "deploy": {"endpoint_mode": "dnsrr"},
    }


def _network(network: Network) -> dict[str, Any]:
    """No machine is in it but by its leg, and nothing leaves it."""
    return {
        "name": network.name,
        "driver": "overlay",
        "internal": True,
        "attachable": True,  # a node that was taken out of it comes back in
        "ipam": {"config": [{"subnet": network.subnet}]},
    }
