"""The JSON file that a program node is started with; docs/architecture.md describes it."""

from __future__ import annotations

import zlib
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from harness.errors import SquallError
from harness.placeholders import filled

if TYPE_CHECKING:
    from harness.runtime.base import Plan
    from harness.topology import Node


def node_config(
    plan: Plan, node: Node, home: PurePath, seed: int, listen_on: str = ""
) -> dict[str, Any]:
    """`home`: the node's directory, as the node itself sees it. `listen_on`: an address other than the plan's.

    Raises `SquallError` for settings with the address of a node that is not there.
    """

    def address_of(name: str) -> str:
        if name not in plan.node:
            raise SquallError(f"{node.name}: settings: address_of: no node '{name}'")
        return plan.node[name].host

    links: dict[str, list[dict[str, Any]]] = {}
    for link in plan.topology.links_from(node.name):
        address = plan.link[link.id]
        role = plan.topology.nodes[link.to].role
        target = {
            "to": link.to,
            "role": role,
            "host": address.host,
            "port": address.port,
            "address": plan.node[link.to].host,
        }
        links.setdefault(link.use, []).append(target)
    listen = plan.node[node.name]
    return {
        "name": node.name,
        "role": node.role,
        "region": node.region,
        "zone": node.zone,
        "listen": {"host": listen_on or listen.host, "port": listen.port},
        "links": links,
        "clients": {host: group for group, host in plan.client.items()},
        "settings": filled(node.settings, address_of),
        "seed": zlib.crc32(f"{seed}:{node.name}".encode()),
        "state_dir": str(home),
    }
