"""The docker runtime: every node a container, a network for each zone, and toxiproxy the only way between them."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import random
import re
import signal
import socket
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from harness.errors import RuntimeFailure, SquallError
from harness.network import obtain
from harness.runtime import servers
from harness.runtime.base import Parts
from harness.runtime.containers import layout as layouts
from harness.runtime.containers import routing
from harness.runtime.containers.cluster import NODE_START_WITHIN, DockerCluster
from harness.runtime.containers.engine import (
    LEASE,
    ROOM,
    Container,
    Engine,
    OverlapError,
    connect,
)
from harness.runtime.containers.image import ensure_image
from harness.runtime.containers.layout import TOXIPROXY_NODE, Layout, lay_out, make_plan
from harness.runtime.containers.leases import clean_strays, find_strays
from harness.runtime.leased import together
from harness.runtime.node_file import node_config
from harness.runtime.warden_client import WardenClient
from harness.runtime.wire import Held, Hold
from harness.topology import PROGRAM_PORT, ROUTER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from harness.runtime.base import Plan
    from harness.topology import Node, Topology

START_WITHIN = (
    120.0  # s for a whole cluster, with as many others starting beside it as there are lanes
)
AT_ONCE = 3  # calls to the engine by one cluster; more only queue up inside it
MEBI = 2**20
MEMORY = {"postgres": 512 * MEBI, "redis": 128 * MEBI, TOXIPROXY_NODE: 256 * MEBI}
PROGRAM_MEMORY = 512 * MEBI
HOME = PurePosixPath("/var/lib/squall")
NODE_FILE = "/etc/squall/node.json"
CODE = PurePosixPath("/opt/program")  # programs that are not in the image
IN_IMAGE = {"reference_impl"}
# As the process runtime does: `main([path])` of the module.
RUN_MAIN = (
    "import importlib, sys; sys.path.insert(0, '/opt/program'); "
    "importlib.import_module(sys.argv[1]).main(sys.argv[2:])"
)
MOST_CODE = 8 * MEBI
PROBES = {
    "postgres": "pg_isready -q -h {host}",
    "redis": "redis-cli -h {host} ping | grep -q PONG",
}
# Without a Python of its own: a bash can speak that much HTTP.
PROGRAM_PROBE = (
    'bash -c \'exec 3<>/dev/tcp/{host}/{port} && printf "GET /health HTTP/1.0\\r\\n\\r\\n" >&3 && '
    'head -n 1 <&3 | grep -q " 200"\''
)


class DockerRuntime:
    """Starts clusters of containers; each is a lease at the warden whose socket is `warden`."""

    def __init__(self, warden: Path, image: str, *, seed: int = 0) -> None:
        self._warden = warden
        self._image = image
        self._seed = seed
        self._planned: dict[str, tuple[WardenClient, Engine, Layout, dict[str, str]]] = {}

    def __repr__(self) -> str:
        return f"DockerRuntime({self._image}, {len(self._planned)} planned)"

    def plan(self, topology: Topology, state_dir: Path, taps: tuple[str, ...] = ()) -> Plan:
        """Claim a block of addresses by making its networks: the engine lets nobody else have them.

        Raises `SquallError`, and ValueError for a tap on an unknown link.
        """
        layouts.check(topology)
        make_plan(lay_out(topology, layouts.BLOCKS[0]), topology, state_dir, taps)
        engine = connect()
        client = WardenClient(self._warden)
        try:
            held = client.ask_now(Hold(engine.url), Held)
            labels = {LEASE: held.lease, ROOM: held.room}
            layout = _claim(engine, topology, labels)
        except BaseException:
            client.close()
            engine.close()
            raise
        self._planned[layout.name] = client, engine, layout, labels
        return make_plan(layout, topology, state_dir, taps)

    async def start(self, plan: Plan) -> DockerCluster:
        """Raises `RuntimeFailure` with what each node that is not ready said last; nothing is left running then."""
        name = _layout_of(plan).name
        if name not in self._planned:
            raise RuntimeFailure("this plan was not made by this runtime, or was started already")
        client, engine, layout, labels = self._planned.pop(name)
        cluster = DockerCluster(plan, client, engine, layout)
        try:
            await _Starter(cluster, self._image, labels, self._seed).start()
        except BaseException:
            await cluster.close()
            raise
        return cluster

    def release(self, plan: Plan) -> None:
        """Give up a plan that is not going to be started. Idempotent."""
        planned = self._planned.pop(_layout_of(plan).name, None)
        if planned is not None:
            client, engine, _, _ = planned
            client.close()
            engine.close()


class DockerKind:
    """Nodes are containers, `harness.runtime.base.Kind`."""

    has_interfaces = True
    lanes = 3
    in_waves = True

    def prepare(self, topologies: Sequence[Topology], say: Callable[[str], None]) -> Parts:
        for topology in topologies:
            layouts.check(topology)
            routing.checked(topology)
            _code_of(topology.program)
        engine = connect()
        try:
            clean_strays(find_strays())
            image = ensure_image(engine.client, say)
            versions = _versions_in(engine, image)
        finally:
            engine.close()
        return Parts({"engine": engine.version, "image": image, **versions}, image)

    def preload(self, programs: Iterable[str]) -> list[str]:  # noqa: ARG002 - as Kind has it
        return []

    def open(self, warden: Path, parts: Parts, *, seed: int = 0) -> DockerRuntime:
        return DockerRuntime(warden, parts.image, seed=seed)

    def attach(self, plan: Plan, client: WardenClient) -> DockerCluster:
        cluster = DockerCluster(plan, client, connect(), _layout_of(plan), may_restart=False)
        cluster.was_ready()
        return cluster


def _versions_in(engine: Engine, image: str) -> dict[str, str]:
    """Name to version of what is in the image."""
    programs = {
        "python in containers": "python",
        "postgresql": "postgres",
        "redis": "redis-server",
        "toxiproxy": "toxiproxy-server",
    }
    said = engine.said_in(image, "; ".join(f"{each} --version" for each in programs.values()))
    found = (re.search(r"\d+\.\d+(\.\d+)?", line) for line in said.splitlines())
    versions = {name: match.group() for name, match in zip(programs, found, strict=False) if match}
    return {
        "toxiproxy": obtain.VERSION,
        **versions,
    }  # the one that squall builds does not say its number


def _claim(engine: Engine, topology: Topology, labels: dict[str, str]) -> Layout:
    """The first network of a block decides whose it is. Begins anywhere, so that runs side by side seldom collide."""
    begin = random.randrange(len(layouts.BLOCKS))
    for block in (*layouts.BLOCKS[begin:], *layouts.BLOCKS[:begin]):
        layout = lay_out(topology, block)
        if _routed_elsewhere(str(block[layouts.HOST])):
            continue
        try:
            for network in layout.networks:
                engine.create_network(network, labels)
        except OverlapError:
            continue  # what was made of it goes with the lease
        return layout
    raise RuntimeFailure(f"all {len(layouts.BLOCKS)} blocks of {layouts.RANGE} are in use")


def _routed_elsewhere(address: str) -> bool:
    """Whether this host itself has the address: other software uses the range."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def _layout_of(plan: Plan) -> Layout:
    """As it was when the plan was made."""
    address = IPv4Address(plan.toxiproxy.host)
    return lay_out(plan.topology, next(block for block in layouts.BLOCKS if address in block))


class _Starter:
    """Links and servers first, so that no node begins with a back-off; then all program nodes."""

    def __init__(
        self, cluster: DockerCluster, image: str, labels: dict[str, str], seed: int
    ) -> None:
        self._cluster = cluster
        self._plan = cluster.plan
        self._layout = cluster.layout
        self._engine = cluster.engine
        self._image = image
        self._labels = labels
        self._seed = seed
        self._turn = asyncio.Semaphore(AT_ONCE)

    def __repr__(self) -> str:
        return f"_Starter({self._cluster!r})"

    async def start(self) -> None:
        deadline = asyncio.get_running_loop().time() + START_WITHIN
        await self._cluster.listen()
        nodes = list(self._plan.topology.nodes.values())
        programs = [node for node in nodes if not node.is_server]
        code = _code_of(self._plan.topology.program)
        await together(
            self._links(),
            *(self._begin(*self._server(node)) for node in nodes if node.is_server),
            *(self._make(self._program(node), self._files(node, code)) for node in programs),
        )
        await together(*(self._run(self._layout.container(node.name)) for node in programs))
        left = max(1.0, deadline - asyncio.get_running_loop().time())
        await together(*(self._until_ready(node.name, left) for node in nodes))

    async def _links(self) -> None:
        plan = self._plan
        command = ("toxiproxy-server", "-host", "0.0.0.0", "-port", str(plan.toxiproxy.port))  # noqa: S104 - in the run's own networks
        await self._begin(self._container(TOXIPROXY_NODE, TOXIPROXY_NODE, command))
        await self._cluster.toxiproxy.ready(NODE_START_WITHIN)
        await self._cluster.toxiproxy.create(
            {
                link.id: (plan.link[link.id], plan.tap.get(link.id, plan.node[link.to]))
                for link in plan.topology.proxied.values()
            }
        )

    async def _begin(self, container: Container, files: dict[str, bytes] | None = None) -> None:
        await self._make(container, files)
        await self._run(container.name)

    async def _make(self, container: Container, files: dict[str, bytes] | None = None) -> None:
        async with self._turn:
            await asyncio.to_thread(self._engine.create, container, self._labels, files or {})

    async def _run(self, name: str) -> None:
        async with self._turn:
            await asyncio.to_thread(self._engine.start, name)

    # -------------------------------------------------------------------------------------------- what each one is

    def _container(
        self, node: str, role: str, command: tuple[str, ...], check: str = ""
    ) -> Container:
        return Container(
            name=self._layout.container(node),
            node=node,
            image=self._image,
            command=command,
            networks=self._layout.homes[node],
            memory=MEMORY.get(role, PROGRAM_MEMORY),
            check=check,
            stop_signal=signal.Signals(servers.stop_signal(role)).name,
        )

    def _server(self, node: Node) -> tuple[Container, dict[str, bytes]]:
        if node.role == ROUTER:
            return self._router(node)
        host = self._plan.node[node.name].host
        command = servers.container_command(node, self._plan.node[node.name], HOME)
        probe = PROBES[node.role].format(host=host)
        return self._container(node.name, node.role, command, probe), {}

    def _router(self, node: Node) -> tuple[Container, dict[str, bytes]]:
        settings = routing.settings_of(node, self._plan.topology)
        files = {
            routing.ENTRY_FILE: routing.ENTRY.read_bytes(),
            routing.ROUTING_FILE: routing.router_file(self._layout, settings),
        }
        command = ("python", routing.ENTRY_FILE, "router", routing.ROUTING_FILE)
        plain = self._container(node.name, node.role, command)
        return _privileged(plain, routing.ROUTER_SYSCTLS), files

    def _program(self, node: Node) -> Container:
        at = self._plan.node[node.name]
        command: tuple[str, ...]
        command = ("python", "-c", RUN_MAIN, self._plan.topology.program, NODE_FILE)
        probe = PROGRAM_PROBE.format(host=at.host, port=PROGRAM_PORT)
        if not self._plan.topology.routes_to(node.name):
            return self._container(node.name, node.role, command, probe)
        command = ("python", routing.ENTRY_FILE, "pop", routing.ROUTING_FILE)
        plain = self._container(node.name, node.role, command, probe)
        return _privileged(plain, routing.POP_SYSCTLS)

    def _files(self, node: Node, code: dict[str, bytes]) -> dict[str, bytes]:
        routes = self._plan.topology.routes_to(node.name)
        # Behind a router it is reached at the anycast address too.
        config = node_config(self._plan, node, HOME, self._seed, "0.0.0.0" if routes else "")  # noqa: S104
        files = {NODE_FILE: json.dumps(config, indent=1).encode(), **code}
        if routes:
            topology = self._plan.topology
            settings = routing.settings_of(topology.nodes[routes[0].source], topology)
            program = ("python", "-c", RUN_MAIN, topology.program, NODE_FILE)
            told = routing.pop_file(self._layout, node.name, settings, program)
            files |= {routing.ENTRY_FILE: routing.ENTRY.read_bytes(), routing.ROUTING_FILE: told}
        return files

    async def _until_ready(self, node: str, within: float) -> None:
        """Ready, or a reason why not: the deadline, or that it has exited already."""
        ready = asyncio.create_task(self._cluster.ready(node, within))
        name = self._layout.container(node)
        try:
            while not ready.done():
                await asyncio.wait({ready}, timeout=1.0)
                seen = await asyncio.to_thread(self._engine.look, name)
                if not ready.done() and not seen.running:
                    tail = await asyncio.to_thread(self._cluster.tail, node)
                    raise RuntimeFailure(f"{node} exited with {seen.exit_code}{tail}")
            await ready
        finally:
            ready.cancel()
            await asyncio.gather(ready, return_exceptions=True)


def _privileged(container: Container, sysctls: dict[str, str]) -> Container:
    """For what speaks BGP: its first process is root, with the few rights that bird needs."""
    return replace(
        container,
        user="0",
        groups=routing.GROUPS,
        capabilities=routing.CAPABILITIES,
        sysctls=sysctls,
    )


def _code_of(program: str) -> dict[str, bytes]:
    """The sources of a program that is not in the image, by where they go in the container.

    Raises `SquallError` for one that can't be found, or is too large to be copied into every node.
    """
    top = program.partition(".")[0]
    if top in IN_IMAGE:
        return {}
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        raise SquallError(f"the program '{program}' can't be imported: no module named '{top}'")
    if not spec.submodule_search_locations:
        assert spec.origin is not None
        return {str(CODE / f"{top}.py"): Path(spec.origin).read_bytes()}
    files = {
        str(CODE / top / path.relative_to(root).as_posix()): path.read_bytes()
        for root in map(Path, spec.submodule_search_locations)
        for path in sorted(root.rglob("*.py"))
    }
    size = sum(map(len, files.values()))
    if size > MOST_CODE:
        raise SquallError(
            f"the package '{top}' has {size / MEBI:.0f} MiB of sources, too much to be copied into containers"
        )
    return files
