"""What the clusters of every runtime share: a lease held at a warden, its ledger, and links through toxiproxy."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

from harness.errors import RuntimeFailure
from harness.network.toxiproxy import Toxiproxy
from harness.runtime import readiness
from harness.runtime.base import Cluster, NodeState
from harness.runtime.wire import CarryOut, Done, End, Entry, Keep, Outstanding, Record

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable
    from pathlib import Path

    from harness.fault import Undo
    from harness.network.base import LinkControl
    from harness.runtime.base import Plan
    from harness.runtime.warden_client import WardenClient
    from harness.runtime.wire import Spawned
    from harness.topology import Node

LOG_TAIL = 5  # lines
END_WITHIN = 20.0  # s


class LeasedCluster(Cluster):
    """A subclass says how nodes are killed, paused and started. Use it from the event loop that started it."""

    end_within = END_WITHIN

    def __init__(self, plan: Plan, client: WardenClient, *, may_restart: bool) -> None:
        """`may_restart`: the daemon of the links may be rebuilt, because all that was done to them is known here."""
        self.plan = plan
        self.toxiproxy = Toxiproxy(plan.toxiproxy, self._restart_toxiproxy if may_restart else None)
        self.network: LinkControl = self.toxiproxy
        self._client = client
        self._ready: set[str] = set()
        self._closed = False

    def __repr__(self) -> str:
        by_state: dict[NodeState, list[str]] = {}
        for node in self.plan.topology.nodes:
            by_state.setdefault(self.state(node), []).append(node)
        states = "; ".join(f"{state}: {', '.join(names)}" for state, names in by_state.items())
        return f"{type(self).__name__}({self.plan.topology.name} at {self.place}; {states})"

    @property
    def client(self) -> WardenClient:
        return self._client

    @property
    def place(self) -> str:
        """Where the cluster is, for people."""
        raise NotImplementedError

    @property
    def logs(self) -> str:
        """Where a person finds the log of a node, for which NODE stands."""
        raise NotImplementedError

    async def listen(self, running: Iterable[Spawned] = ()) -> None:
        """Follow what the warden says; `running` is what it said so far of the nodes that it keeps itself."""
        raise NotImplementedError

    def tail(self, node: str) -> str:
        """The last lines of a node's log, each indented under the line that they explain."""
        raise NotImplementedError

    async def ready(self, node: str, within: float = 10.0) -> None:
        role = self._node(node).role
        seen = await readiness.until_ready(role, self.plan.node[node], within)
        if seen:
            state, tail = await asyncio.to_thread(lambda: (self.state(node), self.tail(node)))
            raise RuntimeFailure(
                f"{node} ({state}) was not ready within {within:g} s: {seen}{tail}"
            )
        self._ready.add(node)

    # --------------------------------------------------------------------------------------------------- the lease

    async def close(self) -> None:
        """End all of it. Idempotent."""
        if self._closed:
            return
        self._closed = True
        try:
            if self._client.listening:  # else the end of the connection ends the cluster
                await self._client.ask(End(), type(None), self.end_within)  # when nothing is left
        except RuntimeFailure:
            if not self._client.lost:  # a warden that is gone has taken everything with it
                raise
        finally:
            await self._client.aclose()

    async def detach(self) -> None:
        """Leave a kept cluster as it is and end only this connection."""
        self._closed = True
        await self._client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    # ------------------------------------------------------------------------------------------------- the ledger

    async def keep(self) -> None:
        """From now on the cluster outlives this connection."""
        address = (self.plan.toxiproxy.host, self.plan.toxiproxy.port)
        await self._client.ask(Keep(address), type(None))

    async def record(self, undo: Undo, *, hold: bool = False) -> int:
        """Put it into the ledger before the act that it undoes; returns its id. In a kept cluster the warden carries
        it out when this connection ends without `done`; with `hold` it waits for `carry_out`.
        """
        return await self._client.ask(Record(undo, hold), int)

    async def done(self, entry: int) -> None:
        """It has been undone."""
        await self._client.ask(Done(entry), type(None))

    async def outstanding(self) -> list[Entry]:
        """What is not undone yet, last recorded first."""
        return await self._client.ask(Outstanding(), list[Entry])

    async def carry_out(self, entries: Iterable[Entry]) -> None:
        """Let the warden undo them. Raises `RuntimeFailure` with what could not be."""
        await self._client.ask(CarryOut(tuple(entry.id for entry in entries)), type(None))

    # ---------------------------------------------------------------------------------------------------- private

    def _node(self, name: str) -> Node:
        try:
            return self.plan.topology.nodes[name]
        except KeyError:
            raise RuntimeFailure(f"there is no node '{name}'") from None

    async def _restart_toxiproxy(self) -> None:
        raise NotImplementedError


async def together(*acts: Awaitable[None]) -> None:
    """All at once; every one runs to its end, then the failures are raised as one."""
    results = await asyncio.gather(*acts, return_exceptions=True)
    failures = [result for result in results if isinstance(result, BaseException)]
    for failure in failures:
        if not isinstance(failure, RuntimeFailure):
            raise failure
    if failures:
        raise RuntimeFailure("\n".join(str(failure) for failure in failures))


def log_path(plan: Plan, node: str) -> Path:
    """Where what a node wrote to stdout and stderr is kept."""
    return (plan.state_dir / "logs" / f"{node}.log").absolute()


def indented(lines: Iterable[str]) -> str:
    """Each line on one of its own, under the line that they explain."""
    return "".join(f"\n    {line}" for line in lines)
