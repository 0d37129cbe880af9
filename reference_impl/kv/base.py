"""The edge KV: a region's copy of all flags that outlives hubs and streams. PoPs poll it when streams are down."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from reference_impl.propagation.types import Change, FlagState, Snapshot

KEPT = 10_000  # changes


class EdgeReader(Protocol):
    """What PoPs need of it. Each call ends within its timeout, or raises `CallError`."""

    async def ping(self) -> int:
        """The KV's position; 0 where it has no data."""
        ...

    async def fetch(self, since_seq: int) -> list[Change] | Snapshot:
        """What a reader at `since_seq` lacks: changes in order, or everything where they are no longer kept.

        An empty list where it lacks nothing, also when the KV is behind the reader or has no data.
        """
        ...

    async def flags(self, org: str, keys: Sequence[str]) -> dict[str, FlagState]:
        """Those of an organisation's flags that it has, as they were at one moment."""
        ...

    async def close(self) -> None: ...


class EdgeKV(EdgeReader, Protocol):
    """What hubs need as well. Positions only grow, whoever writes and however often."""

    async def apply(self, changes: Sequence[Change]) -> int:
        """Write those of the consecutive `changes` that follow its position. Returns its position afterwards.

        A position below the first change means a gap, and nothing was written: `replace` is needed.
        """
        ...

    async def replace(self, snapshot: Snapshot) -> int:
        """Write everything, if newer. Returns the position afterwards. A reader sees all of it or nothing."""
        ...
