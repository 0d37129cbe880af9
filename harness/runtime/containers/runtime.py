"""The docker runtime: every node a container, a network for each zone, and toxiproxy the only way between them."""

from __future__ import annotations

import asyncio
import random
import re
import socket
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from harness.errors import RuntimeFailure
from harness.network import obtain
from harness.runtime.base import Parts
from harness.runtime.containers import layout as layouts
from harness.runtime.containers import routing
from harness.runtime.containers.blueprint import Blueprint, code_of
from harness.runtime.containers.cluster import NODE_START_WITHIN, DockerCluster
from harness.runtime.containers.engine import LEASE, ROOM, Container, Engine, OverlapError, connect
from harness.runtime.containers.image import ensure_image
from harness.runtime.containers.layout import Layout, lay_out, make_plan
from harness.runtime.containers.leases import clean_strays, find_strays
from harness.runtime.leased import together
from harness.runtime.warden_client import WardenClient
from harness.runtime.wire import Held, Hold

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from harness.runtime.base import Plan
    from harness.topology import Topology

START_WITHIN = 120.0  # s for a whole cluster, beside as many others as there are lanes
AT_ONCE = 3  # calls to the engine by one cluster; more only queue up inside it


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
    has_files = False
    lanes = 3
    in_waves = True

    def prepare(self, topologies: Sequence[Topology], say: Callable[[str], None]) -> Parts:
        for topology in topologies:
            layouts.check(topology)
            routing.checked(topology)
            code_of(topology.program)
        engine = connect()
        try:
            engine.must_be_here()
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
        self._labels = labels
        self._blueprint = Blueprint(cluster.plan, cluster.layout, image, seed)
        self._turn = asyncio.Semaphore(AT_ONCE)

    def __repr__(self) -> str:
        return f"_Starter({self._cluster!r})"

    async def start(self) -> None:
        deadline = asyncio.get_running_loop().time() + START_WITHIN
        await self._cluster.listen()
        nodes = list(self._plan.topology.nodes.values())
        programs = [node for node in nodes if not node.is_server]
        await together(
            self._links(),
            *(self._begin(self._blueprint.of(node)) for node in nodes if node.is_server),
            *(self._make(self._blueprint.of(node)) for node in programs),
        )
        await together(*(self._run(self._layout.container(node.name)) for node in programs))
        left = max(1.0, deadline - asyncio.get_running_loop().time())
        await together(*(self._until_ready(node.name, left) for node in nodes))

    async def _links(self) -> None:
        plan = self._plan
        await self._begin(self._blueprint.toxiproxy())
        await self._cluster.toxiproxy.ready(NODE_START_WITHIN)
        await self._cluster.toxiproxy.create(
            {
                link.id: (plan.link[link.id], plan.tap.get(link.id, plan.far_end(link)))
                for link in plan.topology.proxied.values()
            }
        )

    async def _begin(self, container: Container) -> None:
        await self._make(container)
        await self._run(container.name)

    async def _make(self, container: Container) -> None:
        async with self._turn:
            await asyncio.to_thread(self._engine.create, container, self._labels)

    async def _run(self, name: str) -> None:
        async with self._turn:
            await asyncio.to_thread(self._engine.start, name)

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
