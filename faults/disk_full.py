from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from faults._common import combined
from faults._nodes import NodeFault, start_again
from harness.errors import RuntimeFailure
from harness.fault import Proof, Undo
from harness.runtime import limits
from harness.runtime.base import NodeState

if TYPE_CHECKING:
    from harness.runtime.base import Cluster

_ROUNDS = 20  # until a process that was just forked is found as well


@dataclass(frozen=True)
class DiskFull(NodeFault):
    """Nodes can write nothing more to disk: each write to a file fails. Healed by letting them, and by starting what ended of it.

    The kernel refuses it to their processes (RLIMIT_FSIZE), and no disk is really full: other nodes share it. For runtimes whose
    nodes are processes of this machine.
    """

    name: ClassVar[str] = "disk_full"
    colour: ClassVar[str] = "#7b241c"
    undo_by: ClassVar[str] = "lift"

    def check(self, cluster: Cluster) -> None:
        super().check(cluster)
        if not cluster.has_files:
            raise ValueError(f"{self.name}: the nodes of this runtime are no processes of this one")

    def undo(self, cluster: Cluster) -> tuple[Undo, ...]:
        ended = (Undo(action="start", subject=node) for node in self.targets(cluster))
        return (*super().undo(cluster), *ended)

    async def hurt(self, cluster: Cluster, node: str) -> None:
        for _ in range(_ROUNDS):
            free = [pid for pid in await _pids(cluster, node) if not limits.limited(pid)]
            if not free:
                break
            try:
                await asyncio.to_thread(limits.fill, free)
            except OSError as error:
                raise RuntimeFailure(f"{self.name}: {node}: {error.strerror}") from None
        # It may end of it at once, so what shows that it bit is looked at here, and kept.
        seen = await _limited(cluster, node)
        if seen.bit or node not in self._shown:
            self._shown[node] = seen

    async def mend(self, cluster: Cluster, node: str) -> None:
        for _ in range(_ROUNDS):
            pids = await _pids(cluster, node)
            await asyncio.to_thread(limits.lift, pids)
            if not any(map(limits.limited, await _pids(cluster, node))):
                break
        await start_again(cluster, node)

    async def hurts(self, cluster: Cluster, node: str) -> Proof:
        never = Proof(bit=False, seen=f"{node} was never seen to be refused a write")
        then = self._shown.get(node, never)
        if cluster.state(node) is NodeState.EXITED:
            return combined([then, Proof(bit=True, seen=f"{node} ended of it")])
        return await _limited(cluster, node)

    async def verify_healed(self, cluster: Cluster) -> Proof:
        served = await super().verify_healed(cluster)
        left = [
            Proof(bit=False, seen=f"{node}: pid {pid} may still write to no file")
            for node in self.targets(cluster)
            for pid in await _pids(cluster, node)
            if limits.limited(pid)
        ]
        return combined([served, *left])

    @property
    def _shown(self) -> dict[str, Proof]:
        """Not a field: it is nothing that a scenario writes, nor a part of what makes two faults equal."""
        return vars(self).setdefault("_seen_full", {})  # type: ignore[no-any-return]


async def _pids(cluster: Cluster, node: str) -> list[int]:
    if cluster.state(node) is NodeState.EXITED:
        return []
    return [process.pid for process in await cluster.processes(node)]


async def _limited(cluster: Cluster, node: str) -> Proof:
    """All its processes are refused, and there are some."""
    pids = await _pids(cluster, node)
    refused = [pid for pid in pids if limits.limited(pid)]
    seen = f"{len(refused)} of {len(pids)} processes of {node} may write to no file"
    return Proof(bit=bool(pids) and len(refused) == len(pids), seen=seen)
