from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from faults import _common
from faults._common import require, shown
from harness.crowd.process import CrowdProcess, Told
from harness.crowd.streams import Options
from harness.errors import RuntimeFailure
from harness.fault import Proof, Undo
from harness.history import Crowd as CrowdEvent
from harness.network.reach import fastest
from harness.units import now_ns

if TYPE_CHECKING:
    from harness.history import Event
    from harness.runtime.base import Cluster

OPEN_WITHIN = 20.0  # s
SMALL = 4096  # bytes that the kernel keeps for one that does not read


@dataclass(frozen=True)
class Crowd:
    """So many subscribers more hold a node's stream, each saying that it is a `role`. They read, and come back when cut.

    `slow` of them read nothing for `slow_for` s after they have come: what is sent to them has to wait.
    """

    node: str = ""
    streams: int = 10
    role: str = "client"
    slow: int = 0
    slow_for: float = 0.0

    name: ClassVar[str] = "crowd"
    colour: ClassVar[str] = "#7fb3d5"

    def __post_init__(self) -> None:
        if self.streams < 1 or not 0 <= self.slow <= self.streams:
            raise ValueError("crowd: streams must be at least 1, and slow no more than they are")

    def targets(self, _cluster: Cluster) -> tuple[str, ...]:
        return (self.node,)

    def check(self, cluster: Cluster) -> None:
        if not self.node:
            raise ValueError("crowd: say which node")
        require(self.name, "node", self.node, cluster.plan.topology.nodes)

    def undo(self, _cluster: Cluster) -> tuple[Undo, ...]:
        """Nothing: the crowd is a process of the run's own, and ends with it."""
        return ()

    async def inject(self, cluster: Cluster) -> None:
        address = cluster.plan.node[self.node]
        if not self._process:
            self._began[:] = [now_ns()]
            self._saw.clear()
            headers = {"X-Node-Role": self.role}
            options = Options(
                address.host,
                address.port,
                self.streams,
                headers=headers,
                slow=self.slow,
                slow_for=self.slow_for,
                receive_buffer=SMALL if self.slow else 0,
            )
            self._process.append(CrowdProcess(options))
        await self._process[0].start()

    async def heal(self, _cluster: Cluster) -> None:
        for process in self._process:
            with contextlib.suppress(RuntimeFailure):  # then nobody knows what it saw
                self._saw[:] = [(now_ns(), await process.ask())]
            await process.end()
        self._process.clear()

    async def verify(self, _cluster: Cluster) -> Proof:
        """Each of them has had something of its stream, and none was cut."""
        return await shown(self._look, OPEN_WITHIN if self._process else 0.0)

    async def verify_healed(self, cluster: Cluster) -> Proof:
        """They are gone, and the node serves."""

        async def look() -> Proof:
            if self._process:
                return Proof(bit=False, seen=f"the crowd at {self.node} is still there")
            reach = await fastest(*_common.door(cluster, self.node), _common.SILENCE)
            return Proof(bit=reach.answered, seen=f"the crowd is gone; {self.node}: {reach}")

        return await shown(look, _common.HEAL_WITHIN)

    def witnessed(self, origin: int) -> tuple[Event, ...]:
        """See `Witness.witnessed`."""
        return tuple(self._event(at - origin, origin, told) for at, told in self._saw)

    def _event(self, t: int, origin: int, told: Told) -> CrowdEvent:
        return CrowdEvent(
            t=t,
            node=self.node,
            began=self._began[0] - origin,
            streams=told.streams,
            open=told.open,
            connects=told.connects,
            closes=told.closes,
            changes=told.changes,
            gaps=told.gaps,
            repeats=told.repeats,
            first=told.first,
            last=told.last,
            measured=told.measured,
            p50=told.p50,
            p99=told.p99,
            max=told.max,
            slow=self.slow,
        )

    async def _look(self) -> Proof:
        if not self._process:
            return Proof(bit=False, seen=f"there is no crowd at {self.node}")
        try:
            told = await self._process[0].ask()
        except RuntimeFailure as error:
            return Proof(bit=False, seen=str(error))
        seen = f"{told.open} of {self.streams} streams of {self.node} are open, as {self.role}"
        if told.error and told.open < self.streams:
            seen += f"; the last error was: {told.error}"
        return Proof(bit=told.open == self.streams, seen=seen)

    @property
    def _process(self) -> list[CrowdProcess]:
        """Not a field: it is nothing that a scenario writes, nor a part of what makes two faults equal."""
        return vars(self).setdefault("_crowd", [])  # type: ignore[no-any-return]

    @property
    def _began(self) -> list[int]:
        """The monotonic clock, ns."""
        return vars(self).setdefault("_since", [])  # type: ignore[no-any-return]

    @property
    def _saw(self) -> list[tuple[int, Told]]:
        """What it saw until when."""
        return vars(self).setdefault("_told", [])  # type: ignore[no-any-return]
