"""The edge KV's replicas in several zones and regions ("Edge KV: replicated, multi-region"), as a PoP reads them.

Hubs write to each replica on its own, so one that is lost or cut off holds up none of the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from reference_impl.kv.base import EdgeReader
from reference_impl.propagation.types import Change, FlagState, Snapshot
from reference_impl.resilience.errors import CallError


class Replicas:
    """An `EdgeReader` of several, by name in order of preference; `at` is the one that it reads, None before the first answer.

    It reads the most preferred that answers and is not left behind: that has what any had a look before. All are asked for
    their position at once. `patience`: for how long, in s, those that do not answer are waited for when another did.
    """

    def __init__(self, replicas: Mapping[str, EdgeReader], patience: float) -> None:
        """Raises ValueError where there is no replica."""
        if not replicas:
            raise ValueError("there is no replica")
        self.at: str | None = None
        self._replicas = dict(replicas)
        self._patience = patience
        self._newest = 0  # position that any had at the last look

    def __repr__(self) -> str:
        return f"<Replicas {', '.join(self._replicas)} at={self.at} newest={self._newest}>"

    async def ping(self) -> int:
        """See `EdgeReader.ping`, of the replica that is read. Raises the most preferred one's `CallError` where none answers."""
        positions = await self._look()
        name = next(iter(positions))
        self.at = name
        return positions[name]

    async def fetch(self, since_seq: int) -> list[Change] | Snapshot:
        """See `EdgeReader.fetch`. A replica that fails is passed over; where all do, raises the first one's `CallError`."""
        failure: CallError | None = None
        for name in await self._look():
            try:
                news = await self._replicas[name].fetch(since_seq)
            except CallError as error:
                failure = failure or error
            else:
                self.at = name
                return news
        assert failure is not None  # a look has an answer, or raises
        raise failure

    async def flags(self, org: str, keys: Sequence[str]) -> dict[str, FlagState]:
        """See `EdgeReader.flags`, of the replica that was read last; one that fails is passed over, as by `fetch`."""
        failure: CallError | None = None
        for name in sorted(self._replicas, key=lambda name: name != self.at):
            try:
                return await self._replicas[name].flags(org, keys)
            except CallError as error:
                failure = failure or error
        assert failure is not None  # there is a replica
        raise failure

    async def close(self) -> None:
        """See `EdgeReader.close`."""
        for replica in self._replicas.values():
            await replica.close()

    async def _look(self) -> dict[str, int]:
        """The positions of those that answer, in the order in which they are to be read. Raises `CallError`."""
        asked = {
            name: asyncio.create_task(replica.ping(), name=f"ping of {name}")
            for name, replica in self._replicas.items()
        }
        try:
            await asyncio.wait(asked.values(), timeout=self._patience)
            if not any(_answered(task) for task in asked.values()):
                await asyncio.wait(asked.values())
            positions = {name: task.result() for name, task in asked.items() if _answered(task)}
            if not positions:
                for task in asked.values():
                    task.result()
            return self._in_order(positions)
        finally:
            for task in asked.values():
                task.cancel()

    def _in_order(self, positions: dict[str, int]) -> dict[str, int]:
        """Those that have what any had a look before, then the others; each in order of preference."""
        before, self._newest = self._newest, max(self._newest, *positions.values())
        return dict(sorted(positions.items(), key=lambda item: item[1] < before))


def _answered(task: asyncio.Task[int]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None
