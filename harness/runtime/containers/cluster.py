"""A cluster whose nodes are containers."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

from harness.errors import RuntimeFailure
from harness.runtime import procfs
from harness.runtime.base import NodeState
from harness.runtime.containers.engine import Engine
from harness.runtime.containers.layout import TOXIPROXY_NODE
from harness.runtime.containers.leases import reconnect
from harness.runtime.leased import LOG_TAIL, LeasedCluster, indented, log_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from harness.runtime.base import NodeProcess, Plan
    from harness.runtime.containers.layout import Layout
    from harness.runtime.warden_client import WardenClient
    from harness.runtime.wire import Spawned

STOP_WITHIN = 10  # s
NODE_START_WITHIN = 30.0
END_WITHIN = 90.0  # s; others' containers may be on their way out at the same time
LOGS_AT_ONCE = 4


class DockerCluster(LeasedCluster):
    end_within = END_WITHIN

    def __init__(
        self,
        plan: Plan,
        client: WardenClient,
        engine: Engine,
        layout: Layout,
        *,
        may_restart: bool = True,
    ) -> None:
        super().__init__(plan, client, may_restart=may_restart)
        self.engine = engine
        self.layout = layout

    @property
    def place(self) -> str:
        return self.layout.name

    @property
    def logs(self) -> str:
        return f"docker logs {self.layout.container('NODE')}"

    def at(self, node: str) -> tuple[Engine, str]:
        """Where the node's container is, and what it is called there; toxiproxy's too."""
        return self.engine, self.layout.container(node)

    def tail(self, node: str) -> str:
        engine, container = self.at(node)
        try:
            said = engine.log(container, LOG_TAIL)
        except RuntimeFailure:
            return ""
        return indented(said.decode(errors="replace").splitlines())

    async def listen(self, running: Iterable[Spawned] = ()) -> None:  # noqa: ARG002 - it keeps no containers' pids
        await self._client.listen(lambda _event: None)

    def was_ready(self) -> None:
        """Of a cluster that is up all nodes have been ready once; whoever has exited since will be seen to have."""
        self._ready.update(self.plan.topology.nodes)

    # -------------------------------------------------------------------------------------------------------- nodes

    def state(self, node: str) -> NodeState:
        self._node(node)
        engine, container = self.at(node)
        seen = engine.look(container)
        if not seen.running:
            self._ready.discard(node)
            return NodeState.EXITED
        if seen.paused:
            return NodeState.PAUSED
        return NodeState.RUNNING if node in self._ready else NodeState.STARTING

    async def kill(self, node: str) -> None:
        await self._do(node, Engine.kill)
        await self._until(node, NodeState.EXITED)

    async def stop(self, node: str) -> None:
        if await self._state(node) is not NodeState.EXITED:
            await self._do(node, lambda engine, name: engine.stop(name, STOP_WITHIN))
        await self._until(node, NodeState.EXITED)

    async def pause(self, node: str) -> None:
        state = await self._state(node)
        if state is NodeState.EXITED:
            raise RuntimeFailure(f"{node} has exited: it can't be paused")
        if state is not NodeState.PAUSED:
            await self._do(node, Engine.pause)
        await self._until(node, NodeState.PAUSED)

    async def resume(self, node: str) -> None:
        if await self._state(node) is NodeState.PAUSED:
            await self._do(node, Engine.unpause)

    async def start(self, node: str) -> None:
        state = await self._state(node)
        if state is NodeState.PAUSED:
            raise RuntimeFailure(f"{node} is paused: resume it")
        if state is NodeState.EXITED:
            await self._do(node, Engine.start)
        await self.ready(node, NODE_START_WITHIN)

    @property
    def has_interfaces(self) -> bool:
        return True

    @property
    def has_files(self) -> bool:
        return False

    def folder(self, node: str) -> Path:
        raise RuntimeFailure(f"the files of {node} are inside its container")

    async def disconnect(self, node: str) -> None:
        await self._do(node, _leave_all)

    async def connect(self, node: str) -> None:
        homes = self.layout.homes[node]
        await self._do(node, lambda engine, container: reconnect(engine, container, homes))

    async def connected(self, node: str) -> bool:
        engine, container = self.at(node)
        joined = await asyncio.to_thread(engine.networks_of, container)
        return joined >= set(self.layout.homes[node])

    async def processes(self, node: str) -> tuple[NodeProcess, ...]:
        self._node(node)
        return await asyncio.to_thread(self._processes, node)

    def _processes(self, node: str) -> tuple[NodeProcess, ...]:
        engine, container = self.at(node)
        if not engine.look(container).running:
            return ()
        named = engine.processes(container)
        seen = procfs.members(named)
        if any(process.name != named[process.pid] for process in seen) or (named and not seen):
            raise RuntimeFailure(
                f"the engine's processes are not this machine's: {node} can't be looked into"
            )
        return seen

    async def end_process(self, node: str, process: NodeProcess) -> None:
        if process not in await self.processes(node):
            return
        try:
            procfs.send(process.pid, signal.SIGKILL)
        except PermissionError:
            raise RuntimeFailure(
                f"{process.name} of {node} is another user's: it can't be ended"
            ) from None
        loop = asyncio.get_running_loop()
        deadline = loop.time() + STOP_WITHIN
        while procfs.alive(process.pid, process.start) is not None:
            if loop.time() > deadline:
                raise RuntimeFailure(f"{process.name} of {node} did not end")
            await asyncio.sleep(0.01)

    # ------------------------------------------------------------------------------------------------------ the end

    async def close(self) -> None:
        """Logs are kept first: they go with their containers."""
        if not self._closed:
            await asyncio.to_thread(self._keep_logs)
        await super().close()
        self.hang_up()

    async def detach(self) -> None:
        await super().detach()
        self.hang_up()

    def hang_up(self) -> None:
        """End the connections to engines."""
        self.engine.close()

    def _keep_logs(self) -> None:
        folder = self.plan.state_dir / "logs"
        for node in (*self.plan.topology.nodes, TOXIPROXY_NODE):
            engine, container = self.at(node)
            try:
                said = engine.log(container)
                folder.mkdir(parents=True, exist_ok=True)
                log_path(self.plan, node).write_bytes(said)
            except (RuntimeFailure, OSError):
                continue  # it was never made, or the engine is away; the end comes all the same

    # ---------------------------------------------------------------------------------------------------- private

    async def _do(self, node: str, act: Callable[[Engine, str], None]) -> None:
        self._node(node)
        await asyncio.to_thread(act, *self.at(node))

    async def _state(self, node: str) -> NodeState:
        return await asyncio.to_thread(self.state, node)

    async def _until(self, node: str, wanted: NodeState) -> None:
        """The engine's calls return when it is so, or a moment before."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + STOP_WITHIN
        while (seen := await self._state(node)) is not wanted:
            if loop.time() > deadline:
                raise RuntimeFailure(f"{node} is still {seen}, not {wanted}")
            await asyncio.sleep(0.01)

    async def _restart_toxiproxy(self) -> None:
        engine, container = self.at(TOXIPROXY_NODE)
        await asyncio.to_thread(engine.kill, container)
        await asyncio.to_thread(engine.start, container)


def _leave_all(engine: Engine, container: str) -> None:
    for network in sorted(engine.networks_of(container)):
        engine.leave(network, container)
