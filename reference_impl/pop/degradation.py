"""Watches what a PoP depends on and keeps its level: checks, polling, and the way down and back ("Graceful Degradation").

The stream reports itself. The KV and the origin are checked each second at every level, so that the level is right
within seconds even when everything fails at once. docs/decisions.md, "Degradation levels", has the rules.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Protocol

import msgspec

from reference_impl.config import Positive
from reference_impl.pop.checks import Check, grid
from reference_impl.pop.levels import Dependencies, Errors, Level, LevelMachine, Transition
from reference_impl.propagation.settings import FollowSettings
from reference_impl.propagation.types import Change, Snapshot
from reference_impl.resilience.errors import INVALID, CallError, mapped
from reference_impl.resilience.retry import RetrySettings, retry

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable

    from reference_impl.kv.base import EdgeReader

EMPTY = "EMPTY"  # the KV answers, and holds no data
NS = 1_000_000_000


class DegradationSettings(FollowSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Those of a follower, and when what else it depends on counts as lost. Durations in s.

    `poll_interval` is from start to start; less than 10 s, or reading makes data older than that.
    """

    poll_interval: Positive = 9.75
    check_interval: Positive = 1.0
    kv_timeout: Positive = 0.5  # one ping
    origin_timeout: Positive = 1.0  # one health request
    allowed_failures: Annotated[int, msgspec.Meta(ge=1)] = (
        2  # in a row, until a dependency counts as lost
    )


class Memory(Protocol):
    """Where polled data goes. `propagation.store.Store` is one."""

    @property
    def seq(self) -> int: ...
    @property
    def loaded(self) -> bool: ...
    @property
    def empty(self) -> bool: ...
    def apply(self, change: Change) -> bool: ...
    def replace(self, snapshot: Snapshot) -> bool: ...


class Degradation:
    """The level of one PoP. `level` is read by the data path; `changed` is called with each walk through the chain.

    `kv` and `origin` may be None: a node without that link counts it as lost. `origin` makes one health request and
    raises `CallError`.
    """

    def __init__(
        self,
        settings: DegradationSettings,
        retries: RetrySettings,
        memory: Memory,
        *,
        kv: EdgeReader | None,
        origin: Callable[[], Awaitable[object]] | None,
        chance: random.Random,
        changed: Callable[[list[Transition]], None] = lambda _: None,
    ) -> None:
        self.settings = settings
        self.machine = LevelMachine()
        self.kv = Check("kv", allowed=settings.allowed_failures)
        self.origin = Check("origin", allowed=settings.allowed_failures)
        self.streaming = False
        self.stream_error = ""
        self.polls = 0
        self.polls_failed = 0
        self.polled_at: float | None = None  # start of the last good poll, s of the loop's clock
        self._retries = retries
        self._memory = memory
        self._kv = kv
        self._check_origin = origin
        self._chance = chance
        self._changed = changed
        self._poller: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Degradation {self.level} streaming={self.streaming} kv={self.kv!r} origin={self.origin!r}>"

    @property
    def level(self) -> Level:
        return self.machine.level

    @property
    def dependencies(self) -> Dependencies:
        return Dependencies(self.streaming and self._memory.loaded, self.kv.ok, self.origin.ok)

    async def run(self) -> None:
        """Check and poll until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                if self._kv is not None:
                    tasks.create_task(self._watch_kv(self._kv), name="kv checks")
                if self._check_origin is not None:
                    tasks.create_task(self._watch_origin(self._check_origin), name="origin checks")
        finally:
            self._stop_polling()

    def stream_up(self) -> None:
        """The stream works, and what came over it so far is in memory."""
        self.streaming, self.stream_error = True, ""
        self.settle()

    def stream_down(self, error: str) -> None:
        """The stream is lost; `error` is the failure's class."""
        self.streaming, self.stream_error = False, error
        self.settle()

    def settle(self, *, poll_from: float | None = None) -> None:
        """Walk to the level that fits what works now. Polls, if they begin now, begin at `poll_from` or at once."""
        errors = Errors(self.stream_error, self.kv.error, self.origin.error)
        at = round(asyncio.get_running_loop().time() * NS)
        walked = self.machine.observe(self.dependencies, at, errors)
        if self.level is not Level.DEGRADED_L1:
            self._stop_polling()
        elif self._poller is None and self._kv is not None:
            self._poller = asyncio.create_task(
                self._keep_polling(self._kv, poll_from), name="kv polls"
            )
        if walked:
            self._changed(walked)

    def _stop_polling(self) -> None:
        if self._poller is not None:
            self._poller.cancel()
            self._poller = None

    async def _watch_kv(self, kv: EdgeReader) -> None:
        async for due in grid(self.settings.check_interval):
            try:
                await self._ping(kv)
            except CallError as error:
                self.kv.failed(error.kind)
            else:
                if not self.streaming and not self.kv.ok:
                    # The way back is a poll that brings data; the grid of polls begins with it.
                    await self._poll(kv, then=due + self.settings.poll_interval)
                    continue
                self.kv.succeeded()
            self.settle()

    async def _ping(self, kv: EdgeReader) -> None:
        with mapped("KV ping"):
            async with asyncio.timeout(self.settings.kv_timeout):
                position = await kv.ping()
        if position == 0:
            raise CallError(EMPTY, "the KV has no data")

    async def _watch_origin(self, check: Callable[[], Awaitable[object]]) -> None:
        async for _ in grid(self.settings.check_interval):
            try:
                with mapped("origin health"):
                    async with asyncio.timeout(self.settings.origin_timeout):
                        await check()
            except CallError as error:
                self.origin.failed(error.kind)
            else:
                self.origin.succeeded()
            self.settle()

    async def _keep_polling(self, kv: EdgeReader, first: float | None) -> None:
        async for _ in grid(self.settings.poll_interval, first=first):
            await self._poll(kv)

    async def _poll(self, kv: EdgeReader, *, then: float | None = None) -> None:
        """One poll with its retries, the next one at `then` if polls begin with it. Good data and the level that it allows appear in one turn of the loop."""
        started = asyncio.get_running_loop().time()
        self.polls += 1

        async def fetch(_attempt: int) -> list[Change] | Snapshot:
            return await kv.fetch(self._memory.seq)

        try:
            self._take(await retry(fetch, self._retries, self._chance))
        except CallError as error:
            self.polls_failed += 1
            self.kv.lost(error.kind)
        else:
            self.polled_at = started
            self.kv.succeeded()
        self.settle(poll_from=then)

    def _take(self, news: list[Change] | Snapshot) -> None:
        """Bring what was polled into memory. Raises `CallError` INVALID where it can't be true."""
        if isinstance(news, Snapshot):
            if not news.orgs and not self._memory.empty:
                raise CallError(INVALID, "an empty snapshot where we know organisations")
            self._memory.replace(news)
            return
        for change in news:
            if change.seq > self._memory.seq and not self._memory.apply(change):
                raise CallError(INVALID, f"change {change.seq} after {self._memory.seq}: a gap")
