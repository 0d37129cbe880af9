"""A platform that somebody else brought up from the Compose file: broken and measured, never started, never removed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from harness.errors import SquallError
from harness.runtime.base import Parts
from harness.runtime.containers import layout as layouts
from harness.runtime.containers.cluster import DockerCluster
from harness.runtime.containers.compose import LABEL
from harness.runtime.containers.engine import HOMES, NODE, Engine, connect
from harness.runtime.containers.layout import TOXIPROXY_NODE, Layout, lay_out, make_plan
from harness.runtime.containers.written import SETTINGS, settings_digest
from harness.runtime.leased import together
from harness.runtime.warden_client import WardenClient
from harness.runtime.wire import Held, Hold, Where

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from harness.runtime.base import Plan
    from harness.topology import Topology

READY_WITHIN = 60.0  # s for what has just been brought up


class ComposeRuntime:
    """Each plan is the platform that is up; what is done to it is undone when the plan's lease ends."""

    def __init__(self, warden: Path) -> None:
        self._warden = warden

    def __repr__(self) -> str:
        return f"ComposeRuntime({self._warden.parent.name})"

    def plan(self, topology: Topology, state_dir: Path, taps: tuple[str, ...] = ()) -> Plan:
        """Raises `SquallError` for a scenario that records what a link carries: such links are made at the start."""
        refuse_taps(topology, taps)
        return make_plan(_layout(topology), topology, state_dir)

    async def start(self, plan: Plan) -> DockerCluster:
        """Only joins it. Raises `RuntimeFailure` with what a node that is not ready said last."""
        engine = connect()
        client = WardenClient(self._warden)
        laid = _layout(plan.topology)
        borrowed = {
            node: Where(engine.url, laid.container(node), homes)
            for node, homes in laid.homes.items()
        }
        client.ask_now(Hold(engine.url, borrowed), Held)
        return await join(DockerCluster(plan, client, engine, laid, may_restart=False))


class ComposeKind:
    """Nodes are the containers of a Compose project, `harness.runtime.base.Kind`. One scenario at a time."""

    has_interfaces = True
    has_files = False
    in_waves = False
    lanes = 1

    def prepare(self, topologies: Sequence[Topology], say: Callable[[str], None]) -> Parts:
        engine = connect()
        try:
            engine.must_be_here()
            for topology in topologies:
                _must_be_up(engine, topology)
        finally:
            engine.close()
        say("the platform is up; it will be broken and mended, and left as it is")
        return Parts({"engine": engine.version})

    def preload(self, programs: Iterable[str]) -> list[str]:  # noqa: ARG002 - as Kind has it
        return []

    def open(self, warden: Path, parts: Parts, *, seed: int = 0) -> ComposeRuntime:  # noqa: ARG002 - as Kind has it
        return ComposeRuntime(warden)

    def attach(self, plan: Plan, client: WardenClient) -> DockerCluster:  # noqa: ARG002 - as Kind has it
        raise SquallError("a platform brought up by Compose is not squall's to keep")


def _layout(topology: Topology) -> Layout:
    return lay_out(topology, layouts.COMPOSE_BLOCK)


def _must_be_up(engine: Engine, topology: Topology) -> None:
    """Raises `SquallError` when it is not, or is another one."""
    listed, _ = engine.labelled(f"{LABEL}={topology.name}")
    found = {each["Labels"][NODE]: (each["Labels"], each["State"]) for each in listed}
    how = f"squall compose {topology.path} >compose.yaml`, then `docker-compose up -d"
    must_be_up(topology, found, how)
    laid = _layout(topology)
    for node, (labels, _) in found.items():
        if laid.homes[node].items() - json.loads(labels[HOMES]).items():
            raise SquallError(
                f"{topology.path}: {node} is not where this topology has it: make the Compose file anew"
            )


def must_be_up(
    topology: Topology, found: Mapping[str, tuple[Mapping[str, str], str]], how: str
) -> None:
    """`found`: labels and state of each node's container. Raises `SquallError`; `how` to bring it up."""
    for node in (*topology.nodes, TOXIPROXY_NODE):
        if node not in found:
            raise SquallError(f"{topology.path}: no container of {node} is up: `{how}`")
        labels, state = found[node]
        if labels.get(SETTINGS) != settings_digest(topology, node):
            raise SquallError(
                f"{topology.path}: {node} was brought up with other settings than this scenario, or --set, asks for"
            )
        if state != "running":
            raise SquallError(f"{node} is {state}: bring the platform up again")


def refuse_taps(topology: Topology, taps: Sequence[str]) -> None:
    """Raises `SquallError` where there are any."""
    if taps:
        raise SquallError(
            f"{topology.path}: a platform that is up already has no place for a tap on {taps[0]}"
        )


async def join(cluster: DockerCluster) -> DockerCluster:
    """Whose containers are held already. Raises `RuntimeFailure` with what a node that is not ready said last."""
    try:
        await cluster.listen()
        await cluster.keep()
        await together(*(cluster.ready(node, READY_WITHIN) for node in cluster.plan.topology.nodes))
    except BaseException:
        await cluster.close()
        raise
    return cluster
