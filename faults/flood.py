from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from faults import _common
from faults._common import require, shown
from harness.fault import Proof, Undo
from harness.network.reach import fastest
from harness.probes.http import Client, HttpFailure

if TYPE_CHECKING:
    from harness.runtime.base import Cluster

ENOUGH = 0.8  # of the rate, in answers
OVER = 1.0  # s that the rate is of
SHOWN_WITHIN = 5.0  # s
ANSWER_WITHIN = 1.0  # s
MOST_WAITING = 200  # requests; beyond, what is due is not sent


@dataclass(frozen=True)
class Flood:
    """A node is asked for `path` `rate` times a second, by keep-alive connections, on top of what it has to do."""

    node: str = ""
    path: str = "/health"
    rate: int = 100

    name: ClassVar[str] = "flood"
    colour: ClassVar[str] = "#d68910"

    def __post_init__(self) -> None:
        if self.rate < 1 or not self.path.startswith("/"):
            raise ValueError("flood: rate must be at least 1, and path begin with /")

    def targets(self, _cluster: Cluster) -> tuple[str, ...]:
        return (self.node,)

    def check(self, cluster: Cluster) -> None:
        if not self.node:
            raise ValueError("flood: say which node")
        require(self.name, "node", self.node, cluster.plan.topology.nodes)

    def undo(self, _cluster: Cluster) -> tuple[Undo, ...]:
        """Nothing: it ends with the run."""
        return ()

    async def inject(self, cluster: Cluster) -> None:
        if not self._flow:
            address = cluster.plan.node[self.node]
            self._flow.append(_Flow(self, Client(address.host, address.port)))

    async def heal(self, _cluster: Cluster) -> None:
        for flow in self._flow:
            await flow.end()
        self._flow.clear()

    async def verify(self, _cluster: Cluster) -> Proof:
        """Nearly all of it was answered, over a second."""

        async def look() -> Proof:
            if not self._flow:
                return Proof(bit=False, seen=f"there is no flood at {self.node}")
            (flow,) = self._flow
            bit = flow.answers >= ENOUGH * self.rate * OVER
            return Proof(bit=bit, seen=f"{self.node}: {flow}")

        return await shown(look, SHOWN_WITHIN if self._flow else 0.0)

    async def verify_healed(self, cluster: Cluster) -> Proof:
        """It is over, and the node serves."""

        async def look() -> Proof:
            if self._flow:
                return Proof(bit=False, seen=f"the flood at {self.node} goes on")
            reach = await fastest(*_common.door(cluster, self.node), _common.SILENCE)
            return Proof(bit=reach.answered, seen=f"the flood is over; {self.node}: {reach}")

        return await shown(look, _common.HEAL_WITHIN)

    @property
    def _flow(self) -> list[_Flow]:
        """Not a field: it is nothing that a scenario writes, nor a part of what makes two faults equal."""
        return vars(self).setdefault("_running", [])  # type: ignore[no-any-return]


class _Flow:
    """Requests on a schedule of their own, and when the last second's answers came."""

    def __init__(self, flood: Flood, client: Client) -> None:
        self._flood = flood
        self._client = client
        self._came: deque[float] = deque()
        self._error = ""
        self._waiting: set[asyncio.Task[None]] = set()
        self._task = asyncio.create_task(self._run(), name="flood")

    def __str__(self) -> str:
        error = f"; the last error was {self._error}" if self._error else ""
        return f"{self.answers} answers/s of {self._flood.path}, {self._flood.rate} wanted{error}"

    @property
    def answers(self) -> int:
        since = asyncio.get_running_loop().time() - OVER
        while self._came and self._came[0] < since:
            self._came.popleft()
        return len(self._came)

    async def end(self) -> None:
        self._task.cancel()
        for task in self._waiting:
            task.cancel()
        await asyncio.wait({self._task, *self._waiting})
        await self._client.close()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            while due <= loop.time():
                due += 1 / self._flood.rate
                if len(self._waiting) < MOST_WAITING:
                    task = asyncio.create_task(self._ask())
                    self._waiting.add(task)
                    task.add_done_callback(self._waiting.discard)
            await asyncio.sleep(max(0.001, due - loop.time()))

    async def _ask(self) -> None:
        try:
            response = await self._client.request("GET", self._flood.path, timeout=ANSWER_WITHIN)
        except HttpFailure as failure:
            self._error = failure.error
            return
        if response.error:
            self._error = response.error
            return
        self._came.append(asyncio.get_running_loop().time())
