"""The steps by which half of a shard goes from one database to another. Each is safe to repeat."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from reference_impl.resilience.errors import INVALID, CallError
from reference_impl.shards import journal as steps
from reference_impl.shards.base import ShardDatabase
from reference_impl.shards.journal import Move

BATCH: Final = 200  # changes in one transaction
ROUNDS: Final = 50  # of copying what was written meanwhile, before it is closed all the same


class HandOver:
    """Carries out one step of a move at a time."""

    def __init__(self, databases: Mapping[str, ShardDatabase]) -> None:
        self._databases = databases
        self._acts: dict[str, Callable[[Move], Awaitable[None]]] = {
            steps.SPLIT: self.split,
            steps.COPY: self.copy,
            steps.CLOSE: self.close,
            steps.CATCH_UP: self.catch_up,
            steps.OPEN: self.open,
            steps.DROP: self.drop,
        }

    def __repr__(self) -> str:
        return f"<HandOver between {', '.join(self._databases)}>"

    async def step(self, move: Move) -> None:
        """The move's next one. Raises `CallError`, after which it may be done."""
        assert move.next is not None
        await self._acts[move.next](move)

    async def split(self, move: Move) -> None:
        await self._databases[move.source].split(move.shard)

    async def copy(self, move: Move) -> None:
        """While it is written: until one transaction has all that is missing, or the writers are as fast as we are."""
        for _ in range(ROUNDS):
            if await self._some(move) < BATCH:
                return

    async def close(self, move: Move) -> None:
        await self._databases[move.source].close_shard(move.half)

    async def catch_up(self, move: Move) -> None:
        """Nobody writes it now. Raises `CallError` INVALID where the copy is not what the source has."""
        while await self._some(move):
            pass
        source, target = self._databases[move.source], self._databases[move.target]
        has, copied = await source.versions(move.half), await target.versions(move.half)
        behind = [org for org, version in has.items() if copied.get(org, 0) < version]
        if behind:
            raise CallError(INVALID, f"{move.target} lacks changes of {', '.join(behind[:5])}")

    async def open(self, move: Move) -> None:
        epochs = [
            one.epoch
            for one in await self._databases[move.source].owned()
            if one.shard == move.half
        ]
        if epochs:
            await self._databases[move.target].open_shard(move.half, epochs[0] + 1)

    async def drop(self, move: Move) -> None:
        await self._databases[move.source].drop_shard(move.half)

    async def _some(self, move: Move) -> int:
        source, target = self._databases[move.source], self._databases[move.target]
        versions = await target.versions(move.half)
        changes = await source.changes_after(move.half, versions, BATCH)
        if changes:
            await target.replay(changes)
        return len(changes)
