"""Cold flags are brought back: from the edge KV, else from the origin ("lazy loading")."""

from __future__ import annotations

import asyncio
from itertools import islice
from typing import TYPE_CHECKING, TypeAlias
from weakref import WeakValueDictionary

from reference_impl.evaluation import CompiledFlag
from reference_impl.pop.origin import Absent, Unavailable
from reference_impl.propagation.types import FlagState
from reference_impl.resilience.retry import RetrySettings, retry

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

    from reference_impl.kv.base import EdgeReader
    from reference_impl.pop.origin import Lookup, ReadThrough
    from reference_impl.pop.tiered.flags import TieredFlags
    from reference_impl.pop.tiered.settings import TierSettings
    from reference_impl.resilience.breaker import Breaker

Loaded: TypeAlias = CompiledFlag | Unavailable | None  # None: deleted meanwhile, or no good
_Waiting: TypeAlias = dict[str, asyncio.Future[Loaded]]  # by key, in the order they came


class Sources:
    """Where definitions are: `breaker(retry(KV))` for many at once, and for what it hasn't the origin, one by one.

    What is older than the flag's known position is refused.
    """

    def __init__(
        self,
        flags: TieredFlags,
        kv: EdgeReader | None,
        breaker: Breaker,
        retries: RetrySettings,
        chance: random.Random,
        origin: ReadThrough | None,
    ) -> None:
        self.breaker = breaker
        self.from_kv = 0  # flags
        self.from_origin = 0
        self.refused = 0  # that were older than what is known
        self._flags = flags
        self._kv = kv
        self._retries = retries
        self._chance = chance
        self._origin = origin

    def __repr__(self) -> str:
        return f"<Sources {self.breaker!r}, {self._origin!r}>"

    async def fetch(self, org: str, keys: Sequence[str]) -> dict[str, Lookup]:
        """All of the keys. Never raises for a failed call: that is `Unavailable`."""
        found: dict[str, Lookup] = {}
        for key, state in (await self._ask_kv(org, keys)).items():
            if self._new_enough(org, key, state):
                found[key] = state
                self.from_kv += 1
        for key in keys:
            if key not in found:
                found[key] = await self._ask_origin(org, key)
        return found

    def _new_enough(self, org: str, key: str, state: FlagState) -> bool:
        known = self._flags.store.position(org, key)
        if known is not None and state.seq < known:
            self.refused += 1
            return False
        return known is not None  # else it was deleted meanwhile, and the origin knows

    async def _ask_kv(self, org: str, keys: Sequence[str]) -> dict[str, FlagState]:
        kv = self._kv
        if kv is None:
            return {}

        async def once(_attempt: int) -> dict[str, FlagState]:
            return await kv.flags(org, keys)

        async def operation() -> dict[str, FlagState]:
            return await retry(once, self._retries, self._chance)

        return await self.breaker.call(operation, lambda _: {})

    async def _ask_origin(self, org: str, key: str) -> Lookup:
        if self._origin is None:
            return Unavailable(self.breaker.state)
        self._origin.absent.discard((org, key))  # the stream told of it since
        found = await self._origin.lookup(org, key)
        if not isinstance(found, FlagState):
            return found
        if not self._new_enough(org, key, found):
            return Unavailable(self._origin.breaker.state)
        self.from_origin += 1
        return found


class ColdLoads:
    """Each flag is loaded once, whoever waits for it; each organisation has one call under way, and its others wait their turn."""

    def __init__(
        self,
        flags: TieredFlags,
        sources: Sources,
        settings: TierSettings,
        allowed: Callable[[], bool],
    ) -> None:
        """`allowed`: whether flags may be loaded at the level of now."""
        self.sources = sources
        self.settings = settings
        self.loaded = 0  # flags
        self.turned_away = 0  # loads of an organisation that waited for too many
        self._flags = flags
        self._allowed = allowed
        self._calls = asyncio.Semaphore(settings.calls)
        self._waiting: dict[str, _Waiting] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def __repr__(self) -> str:
        return f"<ColdLoads {len(self._waiting)} organisations wait, {self.sources!r}>"

    async def load(self, org: str, key: str) -> Loaded:
        """A cold flag, which is in memory from then on. Never raises for a failed call: that is `Unavailable`."""
        waiting = self._waiting.get(org)
        if waiting is None:
            waiting = self._waiting[org] = {}
            task = asyncio.create_task(self._bring(org, waiting), name=f"cold flags of {org}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        future = waiting.get(key)
        if future is None:
            if len(waiting) >= self.settings.waiting:
                self.turned_away += 1
                return Unavailable(self.sources.breaker.state)
            future = waiting[key] = asyncio.get_running_loop().create_future()
        # One caller who hangs up must not take the answer from the others.
        return await asyncio.shield(future)

    async def peek(self, org: str, keys: Sequence[str]) -> dict[str, Loaded]:
        """Cold flags for this use only: nothing gives way to them. At most `batch` of them."""
        async with self._turn(org), self._calls:
            found = await self.sources.fetch(org, keys)
        return {key: self._seen(org, key, lookup) for key, lookup in found.items()}

    async def close(self) -> None:
        """End all calls that are under way; who waits is told that there is nothing."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _turn(self, org: str) -> asyncio.Lock:
        """Who holds it makes the organisation's call."""
        return self._turns.setdefault(org, asyncio.Lock())

    async def _bring(self, org: str, waiting: _Waiting) -> None:
        try:
            while waiting:
                async with self._turn(org), self._calls:
                    keys = list(islice(waiting, self.settings.batch))
                    found = await self.sources.fetch(org, keys)
                for key in keys:
                    waiting.pop(key).set_result(self._take(org, key, found[key]))
        finally:
            del self._waiting[org]
            for future in waiting.values():
                future.set_result(Unavailable(self.sources.breaker.state))

    def _take(self, org: str, key: str, found: Lookup) -> Loaded:
        if isinstance(found, FlagState):
            if not self._allowed() or self._older(org, key, found):
                return Unavailable(self.sources.breaker.state)
            self.loaded += 1
            return self._flags.take(org, key, found)
        return None if isinstance(found, Absent) else found

    def _seen(self, org: str, key: str, found: Lookup) -> Loaded:
        if isinstance(found, FlagState):
            if self._older(org, key, found):
                return Unavailable(self.sources.breaker.state)
            return self._flags.compile(org, key, found)
        return None if isinstance(found, Absent) else found

    def _older(self, org: str, key: str, state: FlagState) -> bool:
        """Whether a change came while others of the same call were asked for."""
        known = self._flags.store.position(org, key)
        return known is None or state.seq < known
