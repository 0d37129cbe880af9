"""Where the advisor has its figures from: nodes' own status, and a shard's own statistics."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import Final, Protocol

import asyncpg
import msgspec

from reference_impl.capacity.load import LoadFigures
from reference_impl.capacity.thresholds import Kind
from reference_impl.config import Upstream
from reference_impl.resilience.errors import CallError
from reference_impl.resilience.http import HttpClient

Figures = Mapping[str, float | None]
FAILURES: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError)
# A transaction is what PostgreSQL counts by itself: a statement outside a block is one, a block of several is one too.
_ASK: Final = """SELECT (xact_commit + xact_rollback)::bigint, pg_database_size(datname)
    FROM pg_stat_database WHERE datname = current_database()"""


class Source(Protocol):
    """One node's figures."""

    kind: Kind
    node: str

    async def figures(self) -> Figures:
        """What is known now; empty where the node does not answer in time. Never raises."""
        ...

    def close(self) -> None:
        """Idempotent."""
        ...


class MemorySource:
    """A `Source` that says what it was told to."""

    def __init__(self, kind: Kind, node: str) -> None:
        self.kind = kind
        self.node = node
        self.now: Figures = {}

    def __repr__(self) -> str:
        return f"<MemorySource {self.node} {self.now}>"

    async def figures(self) -> Figures:
        return self.now

    def close(self) -> None: ...


class _Told(msgspec.Struct):
    load: LoadFigures


class NodeSource:
    """A `Source` of a stream server or a hub: `load` of its `GET /status`."""

    def __init__(self, kind: Kind, upstream: Upstream, http: HttpClient, within: float) -> None:
        self.kind = kind
        self.node = upstream.to
        self._url = f"{upstream.url}/status"
        self._http = http
        self._within = within

    def __repr__(self) -> str:
        return f"<NodeSource {self.node}>"

    async def figures(self) -> Figures:
        """See `Source.figures`."""
        try:
            answer = await self._http.request("GET", self._url, within=self._within)
            return msgspec.structs.asdict(msgspec.json.decode(answer.body, type=_Told).load)
        except (CallError, msgspec.DecodeError):
            return {}

    def close(self) -> None: ...


class ShardSource:
    """A `Source` of a PostgreSQL server: transactions each second over the last `window` s, and bytes."""

    kind = Kind.ADD_SHARD

    def __init__(self, upstream: Upstream, user: str, within: float, window: float) -> None:
        self.node = upstream.to
        self._upstream = upstream
        self._user = user
        self._within = within
        self._window = window
        self._connection: asyncpg.Connection | None = None
        self._counts: deque[tuple[float, int]] = deque()  # loop time, transactions so far

    def __repr__(self) -> str:
        return f"<ShardSource {self.node} {'connected' if self._connection else 'not connected'}>"

    async def figures(self) -> Figures:
        """See `Source.figures`."""
        try:
            async with asyncio.timeout(self._within):
                count, size = await (await self._connected()).fetchrow(_ASK)
        except FAILURES:
            self.close()
            return {}
        return {"queries": self._rate(count), "storage": float(size)}

    def close(self) -> None:
        """Idempotent."""
        self._counts.clear()
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    def _rate(self, count: int) -> float | None:
        """Each second since the newest look that is a window old; None until there is one."""
        now = asyncio.get_running_loop().time()
        if self._counts and count < self._counts[-1][1]:
            self._counts.clear()  # its statistics were reset
        self._counts.append((now, count))
        while len(self._counts) > 1 and now - self._counts[1][0] >= self._window:
            self._counts.popleft()
        began, before = self._counts[0]
        return (count - before) / (now - began) if now - began >= self._window else None

    async def _connected(self) -> asyncpg.Connection:
        if self._connection is None:
            self._connection = await asyncpg.connect(
                host=self._upstream.host,
                port=self._upstream.port,
                user=self._user,
                database=self._user,
                ssl=False,
                timeout=self._within,
            )
        return self._connection
