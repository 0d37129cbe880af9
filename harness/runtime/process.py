"""The process runtime: every node a process of this machine, on a loopback address of its own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Self

from harness.errors import RuntimeFailure, SquallError
from harness.network.obtain import find_toxiproxy
from harness.runtime import procfs, servers
from harness.runtime.addresses import listeners, make_plan, prefix_of
from harness.runtime.base import NodeProcess, NodeState, Parts, Plan
from harness.runtime.leased import LOG_TAIL, LeasedCluster, indented, log_path, together
from harness.runtime.node_file import node_config
from harness.runtime.warden_client import Event, WardenClient, WardenProcess
from harness.runtime.wire import (
    Claim,
    Claimed,
    Preload,
    Respawn,
    Signal,
    Spawn,
    Spawned,
    Wait,
)
from harness.topology import ROUTER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from harness.topology import Node, Topology

START_WITHIN = 30.0  # s for a whole cluster; two or three on an idle machine
NODE_START_WITHIN = 30.0  # s; PostgreSQL may have to recover first
STOP_WITHIN = 10.0
GONE_WITHIN = 5.0  # s; SIGKILL and SIGSTOP take milliseconds
TOXIPROXY = "@toxiproxy"  # can't be a node's name


class ProcessRuntime:
    """Starts clusters through a warden: the one at the socket `warden`, else one of its own, begun at the first plan.

    Each plan is a lease: the cluster ends with this process at the latest. `seed` decides each node's own seed.
    """

    def __init__(self, warden: Path | None = None, *, seed: int = 0) -> None:
        self._socket = warden
        self._own: WardenProcess | None = None
        self._seed = seed
        self._leases: dict[str, tuple[WardenClient, Claimed]] = {}

    def __repr__(self) -> str:
        return f"ProcessRuntime({self._socket or 'own warden'}, {len(self._leases)} planned)"

    def plan(self, topology: Topology, state_dir: Path, taps: tuple[str, ...] = ()) -> Plan:
        """Claim a range. Logs and configurations will be kept in `state_dir`; data lives in the warden's room until the end.

        Raises `RuntimeFailure`, and ValueError for a tap on an unknown link.
        """
        draft = make_plan("127.0.0", topology, state_dir, taps)
        client = WardenClient(self._warden(topology.program))
        try:
            claimed = client.ask_now(Claim(tuple(listeners(draft))), Claimed)
        except RuntimeFailure:
            client.close()
            raise
        self._leases[claimed.prefix] = client, claimed
        return make_plan(claimed.prefix, topology, state_dir, taps)

    async def start(self, plan: Plan) -> ProcessCluster:
        """Raises `RuntimeFailure` with what each node that is not ready said last; nothing is left running then."""
        if prefix_of(plan) not in self._leases:
            raise RuntimeFailure("this plan was not made by this runtime, or was started already")
        client, claimed = self._leases.pop(prefix_of(plan))
        cluster = ProcessCluster(plan, client)
        try:
            await _Starter(cluster, Path(claimed.state_dir), self._seed).start()
        except BaseException:
            await cluster.close()
            raise
        return cluster

    def release(self, plan: Plan) -> None:
        """Give up a plan that is not going to be started. Idempotent."""
        lease = self._leases.pop(prefix_of(plan), None)
        if lease is not None:
            lease[0].close()

    def close(self) -> None:
        """End what was planned and not started, and an own warden with all its clusters. Idempotent."""
        for client, _ in self._leases.values():
            client.close()
        self._leases.clear()
        if self._own is not None:
            self._own.close()
            self._own = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _warden(self, program: str) -> Path:
        if self._socket is not None:
            return self._socket
        if self._own is None:
            self._own = WardenProcess.start([program])
        return self._own.socket


class ProcessCluster(LeasedCluster):
    """A running cluster. Use it from the event loop that started it."""

    def __init__(self, plan: Plan, client: WardenClient, *, may_restart: bool = True) -> None:
        super().__init__(plan, client, may_restart=may_restart)
        self._running: dict[str, Spawned] = {}

    @property
    def place(self) -> str:
        return f"{prefix_of(self.plan)}.0/24"

    async def listen(self, running: Iterable[Spawned] = ()) -> None:
        for spawned in running:
            self.heard(spawned)
            self._ready.add(spawned.node)
        await self._client.listen(self.heard)

    def heard(self, event: Event) -> None:
        if isinstance(event, Spawned) and event.pid:
            self._running[event.node] = event
            self._ready.discard(event.node)
        elif self._running.get(event.node, event).pid == event.pid:
            self._running.pop(event.node, None)
            self._ready.discard(event.node)

    def pid(self, node: str) -> int | None:
        """Of the node's first process; None when it has exited."""
        spawned = self._running.get(node)
        return spawned.pid if spawned else None

    def log(self, node: str) -> Path:
        """What the node wrote to stdout and stderr, over all its lives."""
        return log_path(self.plan, node)

    @property
    def logs(self) -> str:
        return f"{log_path(self.plan, 'NODE')}"

    def tail(self, node: str) -> str:
        try:
            lines = self.log(node).read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return ""
        return indented(lines[-LOG_TAIL:])

    def state(self, node: str) -> NodeState:
        self._node(node)
        spawned = self._running.get(node)
        process = procfs.alive(spawned.pid, spawned.start) if spawned else None
        if process is None:
            return NodeState.EXITED
        if process.state in procfs.STOPPED:
            return NodeState.PAUSED
        return NodeState.RUNNING if node in self._ready else NodeState.STARTING

    async def kill(self, node: str) -> None:
        self._node(node)
        family = await self._client.ask(Signal(node, signal.SIGKILL), list[tuple[int, int]])
        await self._gone(node, GONE_WITHIN)
        await self._until(
            lambda: not any(procfs.alive(pid, start) for pid, start in family),
            f"a child of {node} did not end",
        )

    async def stop(self, node: str) -> None:
        role = self._node(node).role
        if self.state(node) is NodeState.EXITED:
            return
        await self._client.ask(Signal(node, servers.stop_signal(role), tree=False), list)
        await self._client.ask(Signal(node, signal.SIGCONT), list)  # the paused can't stop
        try:
            await self._gone(node, STOP_WITHIN)
        except RuntimeFailure:
            await self.kill(node)

    async def pause(self, node: str) -> None:
        if self.state(node) is NodeState.EXITED:
            raise RuntimeFailure(f"{node} has exited: it can't be paused")
        await self._client.ask(Signal(node, signal.SIGSTOP), list)
        await self._until(lambda: self._all_in(node, stopped=True), f"{node} was not paused")

    async def resume(self, node: str) -> None:
        if self.state(node) is NodeState.EXITED:
            return
        await self._client.ask(Signal(node, signal.SIGCONT), list)
        await self._until(lambda: self._all_in(node, stopped=False), f"{node} was not resumed")

    @property
    def has_interfaces(self) -> bool:
        return False

    @property
    def has_files(self) -> bool:
        return True

    def folder(self, node: str) -> Path:
        """The working directory of its process."""
        pid = self.pid(self._node(node).name)
        try:
            return Path(f"/proc/{pid or 0}/cwd").readlink()
        except OSError as error:
            raise RuntimeFailure(f"{node} must run for its files to be found: {error}") from None

    async def disconnect(self, node: str) -> None:
        raise RuntimeFailure(
            f"{node} can't be disconnected: processes share the loopback interface"
        )

    async def connect(self, node: str) -> None:
        """Nothing was disconnected."""

    async def connected(self, node: str) -> bool:  # noqa: ARG002 - all are, always
        return True

    async def start(self, node: str) -> None:
        if self.state(node) is NodeState.PAUSED:
            raise RuntimeFailure(f"{node} is paused: resume it")
        await self._client.ask(Respawn(node), Spawned)
        await self.ready(node, NODE_START_WITHIN)

    async def processes(self, node: str) -> tuple[NodeProcess, ...]:
        self._node(node)
        pid = self.pid(node)
        family = [process.pid for process in procfs.tree(pid)] if pid else []
        # The kernel walks through all their pages meanwhile; the loop has probes to serve.
        return await asyncio.to_thread(procfs.members, family)

    async def end_process(self, node: str, process: NodeProcess) -> None:
        self._node(node)
        if procfs.alive(process.pid, process.start) is not None:
            procfs.send(process.pid, signal.SIGKILL)
        await self._until(
            lambda: procfs.alive(process.pid, process.start) is None,
            f"{process.name} of {node} did not end",
        )

    # ---------------------------------------------------------------------------------------------------- private

    async def _gone(self, node: str, within: float) -> None:
        if node in self._running:
            await self._client.ask(Wait(node), int, within)
        self._running.pop(node, None)

    def _all_in(self, node: str, *, stopped: bool) -> bool:
        pid = self.pid(node)
        return all(
            (process.state in procfs.STOPPED) is stopped
            for process in (procfs.tree(pid) if pid else [])
            if not process.gone
        )

    async def _until(self, condition: Callable[[], bool], otherwise: str) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + GONE_WITHIN
        while not condition():
            if loop.time() > deadline:
                raise RuntimeFailure(f"{otherwise} within {GONE_WITHIN:g} s: {self!r}")
            await asyncio.sleep(0.005)

    async def _restart_toxiproxy(self) -> None:
        await self._client.ask(Signal(TOXIPROXY, signal.SIGKILL), list)
        await self._gone(TOXIPROXY, GONE_WITHIN)
        await self._client.ask(Respawn(TOXIPROXY), Spawned)


class ProcessKind:
    """Nodes are processes, `harness.runtime.base.Kind`."""

    has_interfaces = False
    has_files = True
    lanes = 6
    in_waves = False

    def prepare(self, topologies: Sequence[Topology], say: Callable[[str], None]) -> Parts:
        for topology in topologies:
            for node in topology.nodes_of(ROUTER):
                raise SquallError(
                    f"{topology.path}: {node.name} is a router, which needs networks of its own: use --runtime docker"
                )
        programs = {"toxiproxy": find_toxiproxy(say)}
        if any(each.nodes_of("postgres") or each.needing("postgres") for each in topologies):
            programs["postgresql"] = servers.find_postgres() / "postgres"
        if any(topology.needing("postgres") for topology in topologies):
            servers.find_postgres_tools()
        if any(topology.nodes_of("redis") for topology in topologies):
            programs["redis"] = servers.find_redis()
        return Parts({name: servers.version_of(path) for name, path in programs.items()})

    def preload(self, programs: Iterable[str]) -> list[str]:
        return list(programs)

    def open(self, warden: Path, parts: Parts, *, seed: int = 0) -> ProcessRuntime:  # noqa: ARG002 - as Kind has it
        return ProcessRuntime(warden, seed=seed)

    def attach(self, plan: Plan, client: WardenClient) -> ProcessCluster:
        # This connection knows the links' ends, but not what others did to them: it can't rebuild a daemon.
        return ProcessCluster(plan, client, may_restart=False)


class _Starter:
    """Starts everything at once: servers and toxiproxy while the warden loads the program, then all program nodes."""

    def __init__(self, cluster: ProcessCluster, state_dir: Path, seed: int) -> None:
        self._cluster = cluster
        self._plan = cluster.plan
        self._client = cluster.client
        self._state_dir = state_dir
        self._seed = seed
        self._tools = ""  # the folder of PostgreSQL's programs, where a node needs them

    def __repr__(self) -> str:
        return f"_Starter({self._cluster!r})"

    async def start(self) -> None:
        deadline = asyncio.get_running_loop().time() + START_WITHIN
        for folder in ("logs", "config"):
            (self._plan.state_dir / folder).mkdir(parents=True, exist_ok=True)
        await self._cluster.listen()
        nodes = self._plan.topology.nodes.values()
        if self._plan.topology.needing("postgres"):
            self._tools = str(await asyncio.to_thread(servers.find_postgres_tools))
        await together(
            self._links(),
            *(self._server(node) for node in nodes if node.is_server),
            self._load([node for node in nodes if not node.is_server]),
        )
        # Their links are there now, so that no node begins with a back-off.
        for node in nodes:
            if not node.is_server:
                await self._client.ask(self._program(node), Spawned)
        left = max(1.0, deadline - asyncio.get_running_loop().time())
        await together(*(self._until_ready(node.name, left) for node in nodes))

    async def _links(self) -> None:
        plan = self._plan
        host, port = plan.toxiproxy.host, str(plan.toxiproxy.port)
        binary = await asyncio.to_thread(find_toxiproxy)
        argv = (str(binary), "-host", host, "-port", port)
        log = str(log_path(plan, TOXIPROXY))
        await self._client.ask(Spawn(TOXIPROXY, argv, log, str(self._state_dir)), Spawned)
        await self._cluster.toxiproxy.ready(START_WITHIN)
        await self._cluster.toxiproxy.create(
            {
                link.id: (plan.link[link.id], plan.tap.get(link.id, plan.far_end(link)))
                for link in plan.topology.links.values()
            }
        )

    async def _server(self, node: Node) -> None:
        home, log = self._state_dir / node.name, log_path(self._plan, node.name)
        spec = await servers.prepare(node, self._plan.node[node.name], home, log)
        await self._client.ask(spec, Spawned)

    async def _load(self, nodes: list[Node]) -> None:
        if not nodes:
            return
        program = self._plan.topology.program
        failure = await self._client.ask(Preload(program), str | None)  # type: ignore[arg-type]
        if failure:
            raise SquallError(f"the program '{program}' can't be imported: {failure}")

    def _program(self, node: Node) -> Spawn:
        home = self._state_dir / node.name
        home.mkdir(exist_ok=True)
        path = (self._plan.state_dir / "config" / f"{node.name}.json").absolute()
        path.write_text(
            json.dumps(node_config(self._plan, node, home, self._seed), indent=1), encoding="utf-8"
        )
        log, module = str(log_path(self._plan, node.name)), self._plan.topology.program
        return Spawn(node.name, (str(path),), log, str(home), module=module, env=self._env(node))

    def _env(self, node: Node) -> dict[str, str]:
        """PostgreSQL's programs are on the PATH of whom the topology says to need them; in containers, on everyone's."""
        if node not in self._plan.topology.needing("postgres"):
            return {}
        return {"PATH": f"{self._tools}:{os.environ.get('PATH', os.defpath)}"}

    async def _until_ready(self, node: str, within: float) -> None:
        """Ready, or a reason why not: the deadline, or that it has exited already."""
        exited = asyncio.create_task(self._client.ask(Wait(node), int, within + GONE_WITHIN))
        ready = asyncio.create_task(self._cluster.ready(node, within))
        try:
            await asyncio.wait({exited, ready}, return_when=asyncio.FIRST_COMPLETED)
            if not ready.done():
                code = await exited
                raise RuntimeFailure(f"{node} exited with {code}{self._cluster.tail(node)}")
            await ready
        finally:
            for task in (exited, ready):
                task.cancel()
            await asyncio.gather(exited, ready, return_exceptions=True)
