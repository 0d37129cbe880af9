"""Topology files: YAML to `Topology`, every mistake with its file and line.

topology = load_topology("suites/topologies/three-regions.yaml")
broken = override(topology, ["pop.retry.jitter=0.5", "program=tests.broken.x"])
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from harness.errors import SpecError, SquallError
from harness.placeholders import nodes_named
from harness.topology import (
    ROUTE,
    ROUTER,
    SERVER_PORTS,
    ClientGroup,
    Endpoints,
    Link,
    NamedEndpoint,
    Node,
    Topology,
)
from harness.yamlspec import Mark, Marks, Tree, build, load, loads, nearest

if TYPE_CHECKING:
    from pathlib import Path

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
_HOST = re.compile(r"[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63})+")
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")

# Each node has an address of its own in one 127.x.y.0/24, beside those of links, taps and clients.
MAX_NODES = 190
MAX_CLIENTS = 20
MAX_PORT = 65535


@dataclass(frozen=True, slots=True)
class NodeSpec:
    role: str
    zone: str
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LinkSpec:
    """Every one of `from` dials each of `to`, the first preferred; `as` is the use, by default the role of `to`."""

    from_: str | tuple[str, ...]
    to: str | tuple[str, ...]
    as_: str = ""
    port: int | None = None  # of `to`, where a node listens on more than its role's own


@dataclass(frozen=True, slots=True)
class TopologySpec:
    """A topology file as it is written. `settings` are by role, under each node's own. `roles`: those the program has.

    `needs`: roles of the program that call a server's own programs, as in ``{postgres: [database]}``.
    """

    name: str
    program: str
    regions: dict[str, tuple[str, ...]]
    nodes: dict[str, NodeSpec]
    links: tuple[LinkSpec, ...] = ()
    clients: dict[str, str] = field(default_factory=dict)
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    endpoints: Endpoints = field(default_factory=Endpoints)
    roles: tuple[str, ...] = ()
    needs: dict[str, tuple[str, ...]] = field(default_factory=dict)


def load_topology(path: str | Path) -> Topology:
    """Raises `SpecError` at the line of whatever can't be right."""
    return topology_of(load(path))


def topology_of(tree: Tree) -> Topology:
    """The same for a YAML value that is already read."""
    marks = Marks()
    spec = build(TopologySpec, tree, marks=marks)
    return _Checker(spec, marks).topology()


class _Checker:
    """What types can't say: names that must exist, be new, or fit each other."""

    def __init__(self, spec: TopologySpec, marks: Marks) -> None:
        self._spec = spec
        self._marks = marks
        self._top = marks.tree(spec)

    def __repr__(self) -> str:
        return f"_Checker({self._spec.name!r})"

    def topology(self) -> Topology:
        spec = self._spec
        if not _NAME.fullmatch(spec.name):
            raise self._mark("name").error(_bad_name("topology", spec.name))
        if not _MODULE.fullmatch(spec.program):
            raise self._mark("program").error(
                f"'{spec.program}' is not the name of a Python module"
            )
        nodes = self._nodes()
        self._check_addresses(nodes)
        return Topology(
            name=spec.name,
            program=spec.program,
            regions=spec.regions,
            nodes=nodes,
            links=self._links(nodes),
            clients=self._clients(),
            endpoints=self._endpoints(nodes),
            path=self._top.mark.path,
            needs=self._needs(nodes),
        )

    def _mark(self, *keys: str) -> Mark:
        """Where the last of the keys stands, on the way down from the top of the file."""
        tree = self._top
        for key in keys[:-1]:
            assert isinstance(tree.value, dict)
            tree = tree.value[key]
        return tree.key_mark(keys[-1])

    def _zones(self) -> dict[str, str]:
        """Zone to region."""
        found: dict[str, str] = {}
        for region, zones in self._spec.regions.items():
            where = self._mark("regions", region)
            if not zones:
                raise where.error(f"region '{region}' has no zone")
            for zone in zones:
                if zone in found:
                    raise where.error(f"zone '{zone}' is given twice (already in '{found[zone]}')")
                found[zone] = region
        return found

    def _nodes(self) -> dict[str, Node]:
        spec, zones = self._spec, self._zones()
        if not 1 <= len(spec.nodes) <= MAX_NODES:
            raise self._mark("nodes").error(
                f"a topology has 1 to {MAX_NODES} nodes, not {len(spec.nodes)}"
            )
        roles = {node.role for node in spec.nodes.values()} if not spec.roles else set(spec.roles)
        roles |= set(SERVER_PORTS)
        for role in spec.settings:
            if role not in roles:
                where = self._mark("settings", role)
                raise where.error(f"settings: unknown role '{role}'{nearest(role, roles)}")
        return {name: self._node(name, node, zones, roles) for name, node in spec.nodes.items()}

    def _node(self, name: str, node: NodeSpec, zones: dict[str, str], roles: set[str]) -> Node:
        if not _NAME.fullmatch(name):
            raise self._mark("nodes", name).error(_bad_name("node", name))
        if node.role not in roles:
            where = self._marks.mark(node, "role")
            raise where.error(f"{name}: unknown role '{node.role}'{nearest(node.role, roles)}")
        if node.zone not in zones:
            where = self._marks.mark(node, "zone")
            raise where.error(f"{name}: unknown zone '{node.zone}'{nearest(node.zone, zones)}")
        settings = merge(self._spec.settings.get(node.role, {}), node.settings)
        return Node(name, node.role, node.zone, zones[node.zone], settings)

    def _links(self, nodes: Mapping[str, Node]) -> dict[str, Link]:
        triples: dict[tuple[str, str, str], Mark] = {}
        ports: dict[tuple[str, str, str], int | None] = {}
        for link in self._spec.links:
            for source in _many(link.from_):
                for to in _many(link.to):
                    triple = self._link(link, source, to, nodes)
                    where = self._marks.mark(link)
                    if triple in triples:
                        first = triples[triple].line
                        raise where.error(
                            f"{source} already has {to} as '{triple[2]}' (line {first})"
                        )
                    triples[triple] = where
                    ports[triple] = link.port
        pairs = [(source, to) for source, to, _ in triples]
        links = (
            Link(
                f"{source}->{to}" + (f":{use}" if pairs.count((source, to)) > 1 else ""),
                source,
                to,
                use,
                ports[source, to, use],
            )
            for source, to, use in triples
        )
        return {link.id: link for link in links}

    def _link(
        self, link: LinkSpec, source: str, to: str, nodes: Mapping[str, Node]
    ) -> tuple[str, str, str]:
        for key, name in (("from", source), ("to", to)):
            if name not in nodes:
                where = self._marks.mark(link, key)
                raise where.error(f"link {key} unknown node '{name}'{nearest(name, nodes)}")
        if source == to:
            raise self._marks.mark(link).error(f"{source} can't be linked to itself")
        if link.port is not None and not 1 <= link.port <= MAX_PORT:
            raise self._marks.mark(link, "port").error(
                f"a port is 1 to {MAX_PORT}, not {link.port}"
            )
        use = link.as_ or nodes[to].role
        routes = nodes[source].role == ROUTER
        if routes != (use == ROUTE):
            raise self._marks.mark(link).error(
                f"a {ROUTER} has links as '{ROUTE}', and nobody else has: {source} ({nodes[source].role}) to {to} as '{use}'"
            )
        if routes and nodes[to].is_server:
            raise self._marks.mark(link).error(f"{to} ({nodes[to].role}) can't announce a route")
        if sum(node.role == ROUTER for node in nodes.values()) > 1:
            raise self._marks.mark(link).error(f"a topology has one {ROUTER} at most")
        return source, to, use

    def _needs(self, nodes: Mapping[str, Node]) -> dict[str, tuple[str, ...]]:
        roles = {node.role for node in nodes.values()} | set(self._spec.roles)
        for server, users in self._spec.needs.items():
            if server not in SERVER_PORTS:
                where = self._mark("needs", server)
                raise where.error(
                    f"needs: unknown server '{server}'{nearest(server, SERVER_PORTS)}"
                )
            for role in users:
                if role not in roles - set(SERVER_PORTS):
                    where = self._mark("needs", server)
                    raise where.error(f"needs: unknown role '{role}'{nearest(role, roles)}")
        return self._spec.needs

    def _clients(self) -> dict[str, ClientGroup]:
        clients, regions = self._spec.clients, self._spec.regions
        if len(clients) > MAX_CLIENTS:
            raise self._mark("clients").error(
                f"at most {MAX_CLIENTS} client groups, not {len(clients)}"
            )
        for name, region in clients.items():
            if region not in regions:
                where = self._mark("clients", name)
                raise where.error(f"clients: unknown region '{region}'{nearest(region, regions)}")
        return {name: ClientGroup(name, region) for name, region in clients.items()}

    def _endpoints(self, nodes: Mapping[str, Node]) -> Endpoints:
        endpoints = self._spec.endpoints
        for key in ("evaluate", "write", "alerts"):
            found = getattr(endpoints, key)
            if isinstance(found, NamedEndpoint):
                self._named(found, nodes)
            elif found is not None and found not in nodes:
                where = self._marks.mark(endpoints, key)
                raise where.error(f"endpoints: unknown node '{found}'{nearest(found, nodes)}")
        return endpoints

    def _named(self, endpoint: NamedEndpoint, nodes: Mapping[str, Node]) -> None:
        """A name that is no node's, servers and candidates that are nodes, and one port for all candidates."""
        if endpoint.name in nodes or not _HOST.fullmatch(endpoint.name):
            raise self._marks.mark(endpoint, "name").error(
                f"endpoints: '{endpoint.name}' is no name such as api.flags.example.com"
            )
        for key in ("dns", "candidates"):
            where, names = self._marks.mark(endpoint, key), getattr(endpoint, key)
            if not names:
                raise where.error(f"endpoints: {endpoint.name} needs at least one node in '{key}'")
            for name in names:
                if name not in nodes:
                    raise where.error(f"endpoints: unknown node '{name}'{nearest(name, nodes)}")
        if len({nodes[name].port for name in endpoint.candidates}) > 1:
            raise self._marks.mark(endpoint, "candidates").error(
                f"endpoints: the candidates of {endpoint.name} listen on different ports"
            )

    def _check_addresses(self, nodes: Mapping[str, Node]) -> None:
        """Settings may hold the address of a node that is there, and of no other."""
        for node in nodes.values():
            for name in nodes_named(node.settings):
                if name not in nodes:
                    raise self._mark("nodes", node.name).error(
                        f"{node.name}: address_of: unknown node '{name}'{nearest(name, nodes)}"
                    )


def override(topology: Topology, changes: Iterable[str]) -> Topology:
    """A copy with each ``ROLE-OR-NODE.path.to.setting=VALUE`` or ``program=MODULE`` applied, in order.

    The value is read as YAML. Raises `SquallError` with one line for what can't be understood.
    """
    for change in changes:
        key, sign, value = change.partition("=")
        key = key.strip()
        if not sign or not key:
            raise SquallError(
                f"'{change}': write it as ROLE-OR-NODE.SETTING=VALUE or program=MODULE"
            )
        if key == "program":
            if not _MODULE.fullmatch(value):
                raise SquallError(f"'{change}': '{value}' is not the name of a Python module")
            topology = replace(topology, program=value)
        else:
            topology = _override_setting(topology, change, key, value)
    return topology


def _override_setting(topology: Topology, change: str, key: str, value: str) -> Topology:
    first, *path = key.split(".")
    names = {node.name for node in topology.nodes_of(first)} or {first} & set(topology.nodes)
    if not names:
        known = {node.role for node in topology.nodes.values()} | set(topology.nodes) | {"program"}
        raise SquallError(f"'{change}': no role or node '{first}'{nearest(first, known)}")
    if not path or not all(path):
        raise SquallError(f"'{change}': which setting of '{first}'? Write {first}.SETTING=VALUE")
    try:
        parsed = loads(value or "null").plain()
    except SpecError as error:
        raise SquallError(f"'{change}': the value {error.message}") from error
    nodes = dict(topology.nodes)
    for name in names:
        settings = copy.deepcopy(nodes[name].settings)
        _put(settings, path, parsed, change)
        nodes[name] = replace(nodes[name], settings=settings)
    return replace(topology, nodes=nodes)


def _put(settings: dict[str, Any], path: list[str], value: Any, change: str) -> None:
    *way, last = path
    for step in way:
        settings = settings.setdefault(step, {})
        if not isinstance(settings, dict):
            raise SquallError(f"'{change}': '{step}' is a value, not a group of settings")
    settings[last] = value


def merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Both, deeply; where both have a value, `over` wins."""
    merged = copy.deepcopy(dict(under))
    for key, value in over.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = copy.deepcopy(value)
    return merged


def _many(names: str | tuple[str, ...]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else names


def _bad_name(what: str, name: str) -> str:
    return f"{what} '{name}': a name has a to z, 0 to 9 and '-' inside, 40 at most"
