"""Keeps the edge KV as new as the hub's store. Several hubs may write one KV: positions only grow."""

from __future__ import annotations

import asyncio
from typing import Final, NoReturn

from reference_impl.kv.base import EdgeKV
from reference_impl.propagation.store import Store
from reference_impl.propagation.types import Change, Snapshot
from reference_impl.resilience.errors import CallError

BATCH: Final = 256  # changes in one call


class KVWriter:
    """`written`: the KV's position as last seen, None while unknown. A KV that is down is tried each `check` s."""

    def __init__(self, kv: EdgeKV, store: Store, check: float) -> None:
        self.written: int | None = None
        self.error: CallError | None = None
        self._kv = kv
        self._store = store
        self._check = check
        self._news = asyncio.Event()
        store.listen(self._wake)

    def __repr__(self) -> str:
        error = self.error.kind if self.error else None
        return f"<KVWriter written={self.written} of {self._store.seq} error={error}>"

    async def run(self) -> NoReturn:
        """Write until cancelled. Each `check` s it asks for the position: a KV may have lost its data."""
        while True:
            try:
                self.written = await self._kv.ping()
                self.error = None
                await self._keep_up()
            except CallError as error:
                self.written = None
                self.error = error
                await asyncio.sleep(self._check)

    async def _keep_up(self) -> None:
        """Write what comes, for `check` s."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._check
        while (left := until - loop.time()) > 0:
            self._news.clear()
            if self.written is not None and self.written < self._store.seq:
                self.written = await self._write(self.written)
                continue
            timer = loop.call_later(left, self._news.set)
            try:
                await self._news.wait()
            finally:
                timer.cancel()

    async def _write(self, position: int) -> int:
        changes = self._store.changes_since(position, BATCH)
        if changes:
            return await self._kv.apply(changes)
        return await self._kv.replace(self._store.snapshot())

    def _wake(self, _: Change | Snapshot) -> None:
        self._news.set()
