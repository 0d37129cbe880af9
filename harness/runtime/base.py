"""What every runtime does: one interface for processes, containers and, later, virtual time.

A run has two steps so that recording proxies can be in place before the nodes boot: `plan` claims addresses,
`start` starts the nodes at them. Contract test: tests/runtime/contract.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol, Self

from harness.network.base import LinkControl
from harness.topology import Topology


@dataclass(frozen=True, slots=True)
class Address:
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"


class NodeState(StrEnum):
    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    EXITED = "exited"


@dataclass(frozen=True, slots=True)
class Plan:
    """Where everything of one cluster is, claimed before anything starts.

    `node`: where each node listens. `link`: where the link's source dials (its own toxiproxy listener).
    `tap`: for the links asked for, where a recording proxy is to listen; the link's toxiproxy sends there, and the
    recording proxy sends on to `node[link.to]`. `client`: the source address for each client group.
    """

    topology: Topology
    state_dir: Path
    node: dict[str, Address]
    link: dict[str, Address]
    tap: dict[str, Address]
    client: dict[str, str]
    toxiproxy: Address


class Cluster(Protocol):
    """A platform that runs. `repr` shows the state of its nodes. All methods raise `RuntimeFailure` at their deadline."""

    plan: Plan
    network: LinkControl

    async def kill(self, node: str) -> None:
        """SIGKILL (with its whole process group) and wait until it is gone."""

    async def stop(self, node: str) -> None:
        """Graceful stop (SIGTERM; PostgreSQL: fast shutdown), waiting up to 10 s, then SIGKILL."""

    async def pause(self, node: str) -> None:
        """SIGSTOP to the whole group: it accepts connections, and never answers."""

    async def resume(self, node: str) -> None: ...

    async def start(self, node: str) -> None:
        """Start a node that has exited, at its old address with its old data, and wait until it is ready."""

    def state(self, node: str) -> NodeState:
        """As the operating system or the container engine sees it now, not as we last left it."""
        ...

    async def ready(self, node: str, within: float = 10.0) -> None:
        """Wait until it answers (HTTP GET /health 200, or the server's own ping), `within` s."""

    async def close(self) -> None:
        """End all nodes, remove proxies and claims. Idempotent."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc: object) -> None: ...


class Runtime(Protocol):
    name: str

    def plan(self, topology: Topology, state_dir: Path, taps: tuple[str, ...] = ()) -> Plan: ...

    async def start(self, plan: Plan) -> Cluster: ...
