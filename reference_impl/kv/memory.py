"""The edge KV in memory."""

from __future__ import annotations

from collections.abc import Sequence

from reference_impl.kv.base import KEPT
from reference_impl.propagation.store import Store
from reference_impl.propagation.types import Change, FlagState, OrgState, Snapshot
from reference_impl.resilience.errors import CallError


class MemoryKV:
    """An `EdgeKV`. `broken`: the kind of error that every call raises now, or None."""

    def __init__(self, kept: int = KEPT) -> None:
        self.broken: str | None = None
        self._kept = kept
        self._store = Store(kept)

    def __repr__(self) -> str:
        return f"<MemoryKV {self.broken or 'well'} seq={self._store.seq}>"

    def wipe(self) -> None:
        """Lose all data, as a restarted server without a disk does."""
        self._store = Store(self._kept)

    async def ping(self) -> int:
        return self._reach().seq

    async def apply(self, changes: Sequence[Change]) -> int:
        store = self._reach()
        for change in changes:
            store.apply(change)
        return store.seq

    async def replace(self, snapshot: Snapshot) -> int:
        store = self._reach()
        store.replace(snapshot)
        return store.seq

    async def fetch(self, since_seq: int) -> list[Change] | Snapshot:
        store = self._reach()
        changes = store.changes_since(since_seq, self._kept)
        return store.snapshot() if changes is None else changes

    async def flags(self, org: str, keys: Sequence[str]) -> dict[str, FlagState]:
        present = self._reach().orgs.get(org, OrgState()).flags
        return {key: present[key] for key in keys if key in present}

    async def close(self) -> None: ...

    def _reach(self) -> Store:
        if self.broken is not None:
            raise CallError(self.broken, "edge KV")
        return self._store
