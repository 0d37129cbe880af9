"""What every runtime does: one interface for processes, containers and, later, virtual time.

A run has two steps so that recording proxies can be in place before the nodes boot: `plan` claims addresses,
`start` starts the nodes at them. Contract test: tests/runtime/contract.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

from harness.network.base import LinkControl
from harness.topology import Link, Topology

if TYPE_CHECKING:
    from harness.fault import Undo
    from harness.runtime.leased import LeasedCluster
    from harness.runtime.warden_client import WardenClient


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
class NodeProcess:
    """One process of a node, as the kernel shows it. `start` with the pid names one process for good.

    `memory`: its proportional share of what it has in memory (PSS, bytes), None where that can't be read. `cpu`: the CPU time
    that it has used, ns.
    """

    pid: int
    start: int
    name: str
    memory: int | None
    cpu: int = 0


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

    def far_end(self, link: Link) -> Address:
        """Where the link's target listens for it."""
        at = self.node[link.to]
        return at if link.port is None else Address(at.host, link.port)


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

    @property
    def has_interfaces(self) -> bool:
        """Whether a node has a network interface of its own, which `disconnect` takes away."""
        ...

    async def disconnect(self, node: str) -> None:
        """Take its interface away: it reaches nobody, nobody reaches it, and it runs on. Idempotent."""

    async def connect(self, node: str) -> None:
        """Undo `disconnect`: the same networks, the same addresses. Idempotent."""

    async def connected(self, node: str) -> bool:
        """Whether it has its interface, as the runtime sees it now."""
        ...

    @property
    def has_files(self) -> bool:
        """Whether what nodes keep on their disks can be reached, which `corrupt` changes."""
        ...

    def folder(self, node: str) -> Path:
        """Where a node that was started keeps what it keeps."""
        ...

    def state(self, node: str) -> NodeState:
        """As the operating system or the container engine sees it now, not as we last left it."""
        ...

    async def processes(self, node: str) -> tuple[NodeProcess, ...]:
        """All processes of a node that live, its first one first. Raises `RuntimeFailure` where they can't be seen from here."""
        ...

    async def end_process(self, node: str, process: NodeProcess) -> None:
        """SIGKILL to one process of a node, and wait until it is gone. Idempotent."""

    async def ready(self, node: str, within: float = 10.0) -> None:
        """Wait until it answers (HTTP GET /health 200, or the server's own ping), `within` s."""

    async def record(self, undo: Undo, *, hold: bool = False) -> int:
        """Write down how to undo what is going to be done; returns the entry's number."""
        ...

    async def done(self, entry: int) -> None:
        """It has been undone."""

    async def close(self) -> None:
        """End all nodes, remove proxies and claims. Idempotent."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc: object) -> None: ...


class Runtime(Protocol):
    def plan(self, topology: Topology, state_dir: Path, taps: tuple[str, ...] = ()) -> Plan: ...

    async def start(self, plan: Plan) -> Cluster: ...


@dataclass(frozen=True, slots=True)
class Parts:
    """What a runtime needs before it can start anything, found or made. Plain data, so that forked workers have it too.

    `facts`: names and versions for the report. `image`: of containers.
    """

    facts: dict[str, str] = field(default_factory=dict)
    image: str = ""


class Kind(Protocol):
    """One way to run nodes, known by its name in `harness.runtime.session.KINDS`."""

    has_interfaces: bool  # as its clusters' nodes
    has_files: bool  # as its clusters
    lanes: int  # clusters that two cores can measure side by side
    in_waves: (
        bool  # to start or end a cluster is so much work that it must not happen beside a timeline
    )

    def prepare(self, topologies: Sequence[Topology], say: Callable[[str], None]) -> Parts:
        """Find every part, or make it. Raises `SquallError` for what is missing, before anything starts."""
        ...

    def preload(self, programs: Iterable[str]) -> list[str]:
        """The modules that the warden had better load before it is asked to start them."""
        ...

    def open(self, warden: Path, parts: Parts, *, seed: int = 0) -> Runtime:
        """A runtime whose clusters are leases at the warden with that socket."""
        ...

    def attach(self, plan: Plan, client: WardenClient) -> LeasedCluster:
        """A cluster that is up, by a connection that has been attached to it."""
        ...
