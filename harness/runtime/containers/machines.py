"""The machines of a swarm: their engines, the tasks of a stack on them, and the way into its networks."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import MissingPartError, SquallError
from harness.runtime.containers.engine import NODE, Engine, connect, engine_url, must_be_local
from harness.runtime.containers.stack import LEG_NODE, MACHINE, STACK

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.topology import Topology

VARIABLE = "SQUALL_ENGINES"
NAMESPACE = "com.docker.stack.namespace"
CLONE_NEWNET = 0x40000000  # setns(2)
FORWARD = "ssh -nNT -L /run/squall-m2.sock:/var/run/docker.sock m2"


@dataclass(frozen=True, slots=True)
class Task:
    """One container of the stack. `homes`: its networks, with its address in each. `created`: s since 1970."""

    engine: Engine
    container: str
    homes: dict[str, str]
    labels: dict[str, str]
    state: str
    created: int


class Fleet:
    """The engines of the swarm's machines; close it. Every method raises `SquallError` with one line for the user."""

    def __init__(self, engines: Sequence[Engine]) -> None:
        self.engines = tuple(engines)

    def __repr__(self) -> str:
        return f"Fleet({', '.join(engine.url for engine in self.engines)})"

    def close(self) -> None:
        for engine in self.engines:
            engine.close()

    def must_be_whole(self) -> int:
        """The number of machines. Raises `MissingPartError` where an engine of the swarm's was not named."""
        swarms = {engine: engine.swarm() for engine in self.engines}
        for engine, swarm in swarms.items():
            if not swarm.node:
                raise MissingPartError(f"{engine.url} is no machine of a swarm: docker swarm init")
        manager = next((engine for engine, swarm in swarms.items() if swarm.manager), None)
        if manager is None:
            raise MissingPartError(f"no engine of {self._urls()} is a manager of the swarm")
        known = {swarm.node for swarm in swarms.values()}
        machines = manager.machines(MACHINE)
        for node, name in machines.items():
            if node not in known:
                raise MissingPartError(
                    f"{name} is a machine of the swarm, and its engine is not reached: name its socket in {VARIABLE} "
                    f"too, forwarded from there ({FORWARD})"
                )
        if not machines:
            raise MissingPartError(f"no machine of the swarm has the label {MACHINE}=yes")
        return len(machines)

    def tasks(self, topology: Topology) -> dict[str, Task]:
        """By node, the newest of each; of legs none."""
        found: dict[str, Task] = {}
        for task in sorted(self._listed(topology), key=lambda task: task.created):
            if task.labels[NODE] != LEG_NODE:
                found[task.labels[NODE]] = task
        return found

    def leg(self, topology: Topology) -> tuple[Task, int]:
        """The leg on this machine, and the process that it is."""
        for task in self._listed(topology):
            if task.labels[NODE] == LEG_NODE and task.state == "running":
                pid = task.engine.process_of(task.container)
                if _is_here(pid, task.container):
                    return task, pid
        raise SquallError(
            f"no leg of the stack runs on this machine: run squall on one that has the label {MACHINE}=yes"
        )

    def _listed(self, topology: Topology) -> list[Task]:
        return [
            Task(
                engine,
                listed["Id"],
                {
                    name: network["IPAddress"]
                    for name, network in listed["NetworkSettings"]["Networks"].items()
                },
                listed["Labels"],
                listed["State"],
                listed["Created"],
            )
            for engine in self.engines
            for listed in engine.labelled(f"{STACK}={topology.name}")[0]
        ]

    def _urls(self) -> str:
        return " ".join(engine.url for engine in self.engines)


def reach() -> Fleet:
    """The engines whose sockets `SQUALL_ENGINES` names, or the local one. Raises `MissingPartError`."""
    named = os.environ.get(VARIABLE, "").replace(",", " ").split()
    engines: list[Engine] = []
    try:
        for url in named or [engine_url()]:
            engines.append(connect(must_be_local(url, VARIABLE)))  # noqa: PERF401 - those before one that fails are closed
    except BaseException:
        Fleet(engines).close()
        raise
    return Fleet(engines)


def enter(pid: int) -> None:
    """Go into the network of that process, with all that this process starts from now on. Raises `SquallError`."""
    libc = ctypes.CDLL(None, use_errno=True)
    with Path(f"/proc/{pid}/ns/net").open("rb") as network:
        if libc.setns(network.fileno(), CLONE_NEWNET) != 0:
            why = os.strerror(ctypes.get_errno())
            raise MissingPartError(
                f"can't go into the stack's networks by its leg ({why}): run squall as root"
            )


def _is_here(pid: int, container: str) -> bool:
    """Whether it is a process of this machine: another has such a number too, but not in that container's group."""
    try:
        return container in Path(f"/proc/{pid}/cgroup").read_text()
    except OSError:
        return False
