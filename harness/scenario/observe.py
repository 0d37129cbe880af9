"""What the engine itself looks at while a timeline runs: nodes' own status, to wait for a condition."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

import msgspec

from harness.history import Header, Status
from harness.probes import Site
from harness.topology import ClientGroup, Endpoints, Link, Node, Topology

_ASK_EVERY_S = 0.1
Condition = Callable[[Status], bool]


def describe_nodes(topology: Topology) -> dict[str, object]:
    """The topology as plain data, for the history's header."""
    return {
        "name": topology.name,
        "program": topology.program,
        "regions": {name: list(zones) for name, zones in topology.regions.items()},
        "nodes": {
            node.name: {"role": node.role, "zone": node.zone, "region": node.region}
            for node in topology.nodes.values()
        },
        "links": {
            link.id: {"source": link.source, "to": link.to, "use": link.use, "port": link.port}
            for link in topology.links.values()
        },
        "clients": {group.name: group.region for group in topology.clients.values()},
        "endpoints": asdict(topology.endpoints),
    }


def recorded_topology(header: Header) -> Topology:
    """The other way: enough of the topology to read the scenario's references again."""
    data: Any = header.topology
    nodes = {
        name: Node(name, facts["role"], facts["zone"], facts["region"])
        for name, facts in data["nodes"].items()
    }
    links = {
        name: Link(name, ends["source"], ends["to"], ends["use"], ends.get("port"))
        for name, ends in data["links"].items()
    }
    return Topology(
        name=data["name"],
        program=data["program"],
        regions={name: tuple(zones) for name, zones in data["regions"].items()},
        nodes=nodes,
        links=links,
        clients={name: ClientGroup(name, region) for name, region in data["clients"].items()},
        endpoints=msgspec.convert(data["endpoints"], Endpoints),
    )


class StatusWatch:
    """Asks nodes for their status until a condition holds; the deadline's answer says what was last seen."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def __repr__(self) -> str:
        return f"<StatusWatch {self._site.plan.topology.name}>"

    async def nodes_with_levels(self) -> tuple[str, ...]:
        """Every program node whose own status names a degradation level."""
        nodes = [node for node in self._site.plan.topology.nodes.values() if not node.is_server]
        answers = await asyncio.gather(*(self._site.status(node.name) for node in nodes))
        # A balancer passes the question on: what answers then has another role than the node that was asked.
        return tuple(
            node.name
            for node, status in zip(nodes, answers, strict=True)
            if status.level and status.role in ("", node.role)
        )

    async def until(self, nodes: Iterable[str], met: Condition, within: float) -> str:
        """Empty once every node met the condition, else what each that did not was last seen to be."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within
        waiting = dict.fromkeys(nodes, "no answer yet")
        while waiting:
            answers = await asyncio.gather(*(self._site.status(name) for name in waiting))
            for name, status in zip(tuple(waiting), answers, strict=True):
                if status.ok and met(status):
                    del waiting[name]
                else:
                    waiting[name] = _seen(status)
            if loop.time() >= deadline:
                break
            if waiting:
                await asyncio.sleep(_ASK_EVERY_S)
        return "; ".join(f"{name} {seen}" for name, seen in waiting.items())


def _seen(status: Status) -> str:
    if not status.ok:
        return status.error or "no answer"
    parts = [status.level, f"position {status.version}", f"upstream {status.upstream or 'none'}"]
    return " ".join(part for part in parts if part)
