"""A cluster whose nodes are containers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from harness.errors import RuntimeFailure
from harness.runtime.base import NodeState
from harness.runtime.containers.layout import TOXIPROXY_NODE
from harness.runtime.containers.leases import reconnect
from harness.runtime.leased import LOG_TAIL, LeasedCluster, indented, log_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from harness.runtime.base import Plan
    from harness.runtime.containers.engine import Engine
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

    def tail(self, node: str) -> str:
        try:
            said = self.engine.log(self.layout.container(node), LOG_TAIL)
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
        seen = self.engine.look(self.layout.container(node))
        if not seen.running:
            self._ready.discard(node)
            return NodeState.EXITED
        if seen.paused:
            return NodeState.PAUSED
        return NodeState.RUNNING if node in self._ready else NodeState.STARTING

    async def kill(self, node: str) -> None:
        await self._do(node, self.engine.kill)
        await self._until(node, NodeState.EXITED)

    async def stop(self, node: str) -> None:
        if await self._state(node) is not NodeState.EXITED:
            await self._do(node, lambda name: self.engine.stop(name, STOP_WITHIN))
        await self._until(node, NodeState.EXITED)

    async def pause(self, node: str) -> None:
        state = await self._state(node)
        if state is NodeState.EXITED:
            raise RuntimeFailure(f"{node} has exited: it can't be paused")
        if state is not NodeState.PAUSED:
            await self._do(node, self.engine.pause)
        await self._until(node, NodeState.PAUSED)

    async def resume(self, node: str) -> None:
        if await self._state(node) is NodeState.PAUSED:
            await self._do(node, self.engine.unpause)

    async def start(self, node: str) -> None:
        state = await self._state(node)
        if state is NodeState.PAUSED:
            raise RuntimeFailure(f"{node} is paused: resume it")
        if state is NodeState.EXITED:
            await self._do(node, self.engine.start)
        await self.ready(node, NODE_START_WITHIN)

    @property
    def has_interfaces(self) -> bool:
        return True

    async def disconnect(self, node: str) -> None:
        await self._do(node, self._disconnect)

    def _disconnect(self, container: str) -> None:
        for network in sorted(self.engine.networks_of(container)):
            self.engine.leave(network, container)

    async def connect(self, node: str) -> None:
        await self._do(node, lambda container: reconnect(self.engine, container))

    async def connected(self, node: str) -> bool:
        container = self.layout.container(node)
        joined = await asyncio.to_thread(self.engine.networks_of, container)
        return joined >= set(self.layout.homes[node])

    # ------------------------------------------------------------------------------------------------------ the end

    async def close(self) -> None:
        """Logs are kept first: they go with their containers."""
        if not self._closed:
            await asyncio.to_thread(self._keep_logs)
        await super().close()
        self.engine.close()

    async def detach(self) -> None:
        await super().detach()
        self.engine.close()

    def _keep_logs(self) -> None:
        folder = self.plan.state_dir / "logs"
        for node in (*self.plan.topology.nodes, TOXIPROXY_NODE):
            try:
                said = self.engine.log(self.layout.container(node))
                folder.mkdir(parents=True, exist_ok=True)
                log_path(self.plan, node).write_bytes(said)
            except (RuntimeFailure, OSError):
                continue  # it was never made, or the engine is away; the end comes all the same

    # ---------------------------------------------------------------------------------------------------- private

    async def _do(self, node: str, act: Callable[[str], None]) -> None:
        self._node(node)
        await asyncio.to_thread(act, self.layout.container(node))

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
        name = self.layout.container(TOXIPROXY_NODE)
        await asyncio.to_thread(self.engine.kill, name)
        await asyncio.to_thread(self.engine.start, name)
