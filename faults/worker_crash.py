from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, ClassVar

from faults import _common
from faults._common import require, shown
from faults._nodes import serves
from harness.fault import Proof, Undo

if TYPE_CHECKING:
    from harness.runtime.base import Cluster, NodeProcess


@dataclass(frozen=True)
class WorkerCrash:
    """One of a node's several processes dies by SIGKILL; the others stay. The node has to replace it by itself.

    Of the processes whose name is like `of`, sorted by name, it is the one at `index`. It is healed when another has its
    name and all others that there were are still there; nothing is done for that but to wait.
    """

    node: str = ""
    index: int = 0
    of: str = "worker*"

    name: ClassVar[str] = "worker_crash"
    colour: ClassVar[str] = "#b9770e"

    def targets(self, _cluster: Cluster) -> tuple[str, ...]:
        return (self.node,)

    def check(self, cluster: Cluster) -> None:
        if not self.node:
            raise ValueError("worker_crash: say which node")
        require(self.name, "node", self.node, cluster.plan.topology.nodes)
        if self.index < 0:
            raise ValueError("worker_crash: index counts from 0")

    def undo(self, _cluster: Cluster) -> tuple[Undo, ...]:
        """If the node itself should end of it."""
        return (Undo(action="start", subject=self.node),)

    async def inject(self, cluster: Cluster) -> None:
        if not self._victims:
            self._before[:] = await cluster.processes(self.node)
            fitting = sorted(
                (each for each in self._before if fnmatchcase(each.name, self.of)),
                key=lambda each: (each.name, each.pid),
            )
            self._victims[:] = fitting[self.index : self.index + 1]
        for victim in self._victims:
            await cluster.end_process(self.node, victim)

    async def heal(self, cluster: Cluster) -> None:
        """The node's own work."""

    async def verify(self, cluster: Cluster) -> Proof:
        async def look() -> Proof:
            if not self._victims:
                had = ", ".join(each.name for each in self._before) or "none was looked for"
                return Proof(bit=False, seen=f"{self.node}: no process to end: {had}")
            (victim,) = self._victims
            now = await cluster.processes(self.node)
            gone = not any(_same(each, victim) for each in now)
            seen = (
                f"{victim.name} of {self.node}, pid {victim.pid}, {'is gone' if gone else 'lives'}"
            )
            return Proof(bit=gone, seen=f"{seen}; {len(now)} processes, {len(self._before)} before")

        return await shown(look, _common.VERIFY_WITHIN)

    async def verify_healed(self, cluster: Cluster) -> Proof:
        async def look() -> Proof:
            served = await serves(cluster, self.node)
            if not self._victims or not served.bit:
                return served
            (victim,) = self._victims
            now = await cluster.processes(self.node)
            others = [each for each in self._before if not _same(each, victim)]
            lost = [each for each in others if not any(_same(each, one) for one in now)]
            new = [each for each in now if each.name == victim.name and not _same(each, victim)]
            new = [each for each in new if not any(_same(each, one) for one in others)]
            seen = f"{victim.name} of {self.node}: {f'now pid {new[0].pid}' if new else 'not replaced'}"
            if lost:
                seen += f"; {', '.join(each.name for each in lost)} gone too"
            return Proof(bit=bool(new) and not lost, seen=seen)

        return await shown(look, _common.HEAL_WITHIN)

    @property
    def _victims(self) -> list[NodeProcess]:
        """Not a field: it is nothing that a scenario writes, nor a part of what makes two faults equal."""
        return vars(self).setdefault("_chosen", [])  # type: ignore[no-any-return]

    @property
    def _before(self) -> list[NodeProcess]:
        return vars(self).setdefault("_seen", [])  # type: ignore[no-any-return]


def _same(one: NodeProcess, other: NodeProcess) -> bool:
    return (one.pid, one.start) == (other.pid, other.start)
