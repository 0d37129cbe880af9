"""A platform that was deployed as a stack on a swarm of several machines: broken and measured, never started, never removed.

Whoever runs this goes into the networks of the stack's leg on his own machine, so that everything is measured, broken and
mended by one process with one clock, wherever the nodes are.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from harness.errors import SquallError
from harness.runtime.base import Parts
from harness.runtime.containers import layout as layouts
from harness.runtime.containers.borrowed import join, must_be_up, refuse_taps
from harness.runtime.containers.cluster import DockerCluster
from harness.runtime.containers.layout import TOXIPROXY_NODE, Layout, lay_out, make_plan
from harness.runtime.containers.machines import NAMESPACE, Fleet, Task, enter, reach
from harness.runtime.warden_client import WardenClient
from harness.runtime.wire import Held, Hold, Where

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from harness.runtime.base import Plan
    from harness.runtime.containers.engine import Engine
    from harness.topology import Topology


class SwarmCluster(DockerCluster):
    """Each node at the engine of its own machine."""

    def __init__(
        self, plan: Plan, client: WardenClient, fleet: Fleet, layout: Layout, tasks: dict[str, Task]
    ) -> None:
        super().__init__(plan, client, fleet.engines[0], layout, may_restart=False)
        self._fleet = fleet
        self._tasks = tasks

    @property
    def place(self) -> str:
        return f"stack {self._tasks[TOXIPROXY_NODE].labels[NAMESPACE]}"

    @property
    def logs(self) -> str:
        return f"docker service logs {self._tasks[TOXIPROXY_NODE].labels[NAMESPACE]}_NODE"

    def at(self, node: str) -> tuple[Engine, str]:
        task = self._tasks[node]
        return task.engine, task.container

    def hang_up(self) -> None:
        self._fleet.close()


class SwarmRuntime:
    """Each plan is the platform that is up; what is done to it is undone when the plan's lease ends."""

    def __init__(self, warden: Path) -> None:
        self._warden = warden

    def __repr__(self) -> str:
        return f"SwarmRuntime({self._warden.parent.name})"

    def plan(self, topology: Topology, state_dir: Path, taps: tuple[str, ...] = ()) -> Plan:
        """Raises `SquallError` for a scenario that records what a link carries: such links are made at the start."""
        refuse_taps(topology, taps)
        fleet = reach()
        try:
            return make_plan(_found(fleet, topology)[0], topology, state_dir)
        finally:
            fleet.close()

    async def start(self, plan: Plan) -> DockerCluster:
        """Only joins it. Raises `RuntimeFailure` with what a node that is not ready said last."""
        fleet = reach()
        layout, tasks = _found(fleet, plan.topology)
        client = WardenClient(self._warden)
        borrowed = {
            node: Where(task.engine.url, task.container, task.homes) for node, task in tasks.items()
        }
        client.ask_now(Hold(fleet.engines[0].url, borrowed), Held)
        return await join(SwarmCluster(plan, client, fleet, layout, tasks))


class SwarmKind:
    """Nodes are the tasks of a stack, `harness.runtime.base.Kind`. One scenario at a time."""

    has_interfaces = True
    has_files = False
    in_waves = False
    lanes = 1

    def prepare(self, topologies: Sequence[Topology], say: Callable[[str], None]) -> Parts:
        """From here on this process, and all that it starts, is in the stack's networks."""
        fleet = reach()
        try:
            machines = fleet.must_be_whole()
            for topology in topologies:
                tasks = {
                    node: (task.labels, task.state) for node, task in fleet.tasks(topology).items()
                }
                how = f"squall compose --swarm {topology.path} >stack.yaml`, then `docker stack deploy -c stack.yaml squall"
                must_be_up(topology, tasks, how)
                _found(fleet, topology)
            if topologies:
                enter(fleet.leg(topologies[0])[1])
        finally:
            fleet.close()
        say(
            f"the platform is up on {machines} machines; it will be broken and mended, and left as it is"
        )
        return Parts({"engine": fleet.engines[0].version, "machines": str(machines)})

    def preload(self, programs: Iterable[str]) -> list[str]:  # noqa: ARG002 - as Kind has it
        return []

    def open(self, warden: Path, parts: Parts, *, seed: int = 0) -> SwarmRuntime:  # noqa: ARG002 - as Kind has it
        return SwarmRuntime(warden)

    def attach(self, plan: Plan, client: WardenClient) -> DockerCluster:  # noqa: ARG002 - as Kind has it
        raise SquallError("a platform that is a swarm's stack is not squall's to keep")


def _found(fleet: Fleet, topology: Topology) -> tuple[Layout, dict[str, Task]]:
    """Everything where the swarm put it; "the host" of each network is the leg on this machine."""
    written = lay_out(topology, layouts.SWARM_BLOCK)
    tasks = fleet.tasks(topology)
    leg, _ = fleet.leg(topology)
    _must_fit(topology, written, {**tasks, "leg": leg})
    layout = replace(
        written,
        zones={z: replace(n, gateway=leg.homes[n.name]) for z, n in written.zones.items()},
        groups={g: replace(n, gateway=leg.homes[n.name]) for g, n in written.groups.items()},
        homes={node: tasks[node].homes for node in written.homes},
    )
    return layout, tasks


def _must_fit(topology: Topology, written: Layout, tasks: dict[str, Task]) -> None:
    """Raises `SquallError` for a stack that was made from another topology, or is not whole."""
    wanted = {node: set(homes) for node, homes in written.homes.items()}
    wanted["leg"] = {network.name for network in written.networks}
    for node, networks in wanted.items():
        homes = tasks[node].homes if node in tasks else {}
        if missing := sorted(each for each in networks if not homes.get(each)):
            raise SquallError(
                f"{topology.path}: {node} is not in {missing[0]}: deploy the stack anew"
            )
