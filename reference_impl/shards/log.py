"""The storage of an API server over several databases: each organisation's calls go to the one that has its shard."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import NoReturn, TypeVar

import msgspec

from reference_impl.config import Positive
from reference_impl.propagation.types import Change, Flag, FlagState, OrgState, Snapshot
from reference_impl.resilience.errors import INVALID, SERVICE_UNAVAILABLE, CallError
from reference_impl.shards.base import NotOwner, ShardDatabase
from reference_impl.shards.shard import ShardMap
from reference_impl.web import Tasks

T = TypeVar("T")


class ShardSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Times in s. Each database is asked what it has each `poll`, and at once where an organisation was not found where it was
    thought to be; `patience` is for how long a call waits for it to be found, `retry` for how long it does between two looks.
    """

    poll: Positive = 1.0
    patience: Positive = 1.5
    retry: Positive = 0.05


class ShardedChangeLog:
    """A `ChangeLog` of all organisations, as far as they are one: each database has a log of its own, so there are no common positions."""

    def __init__(
        self, databases: Sequence[ShardDatabase], settings: ShardSettings | None = None
    ) -> None:
        self.settings = settings or ShardSettings()
        self.map = ShardMap()
        self._databases = {database.name: database for database in databases}
        self._asked = {name: asyncio.Event() for name in self._databases}
        self._learned = asyncio.Event()
        self._tasks = Tasks()

    def __repr__(self) -> str:
        return f"<ShardedChangeLog {self.map!r}>"

    async def put_flag(self, org: str, key: str, definition: Flag | None, at: int) -> Change:
        return await self._at_owner(org, lambda there: there.put_flag(org, key, definition, at))

    async def get(self, org: str, key: str) -> tuple[FlagState, int] | None:
        return await self._at_owner(org, lambda there: there.get(org, key))

    async def list_org(self, org: str) -> OrgState | None:
        return await self._at_owner(org, lambda there: there.list_org(org))

    async def snapshot(self) -> Snapshot:
        """Raises `CallError` INVALID: there is no one position of all databases."""
        return _no_common_log()

    async def changes_since(self, seq: int, limit: int) -> list[Change]:  # noqa: ARG002 - the interface's
        """Raises `CallError` INVALID: there are no common positions."""
        return _no_common_log()

    async def news(self, within: float) -> None:
        await asyncio.sleep(within)

    async def start(self) -> None:
        for name, database in self._databases.items():
            await database.start()
            self._tasks.start(partial(self._watch, database), f"shards of {name}")

    async def close(self) -> None:
        await self._tasks.stop()
        for database in self._databases.values():
            await database.close()

    async def _at_owner(self, org: str, call: Callable[[ShardDatabase], Awaitable[T]]) -> T:
        """Make the call where the organisation is. Only what was surely not done, for it is not there, is done again elsewhere."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self.settings.patience
        while True:
            name = self.map.owner(org)
            if name is not None:
                with contextlib.suppress(NotOwner):
                    return await call(self._databases[name])
            if loop.time() >= until:
                raise CallError(SERVICE_UNAVAILABLE, f"no database says that it has {org!r}")
            await self._look()

    async def _look(self) -> None:
        """Ask all databases, and wait until one has news; some may be away."""
        self._learned.clear()
        for asked in self._asked.values():
            asked.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.settings.retry):
                await self._learned.wait()

    async def _watch(self, database: ShardDatabase) -> NoReturn:
        """Know what one database has; one that is away has what it had."""
        asked = self._asked[database.name]
        while True:
            asked.clear()
            try:
                news = self.map.learn(database.name, await database.owned())
            except CallError:
                news = False
                await asyncio.sleep(self.settings.retry)
            if news:
                self._learned.set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.settings.poll):
                    await asked.wait()


def _no_common_log() -> NoReturn:
    raise CallError(INVALID, "each database has a log of its own, and there are several")
