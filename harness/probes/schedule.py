"""The open loop: requests go out when they are due, whatever became of those before.

A closed loop waits for a slow server and so hides how many users it kept waiting (coordinated omission). Here each
due time lies on a fixed grid, each firing is a task of its own, and how late it was sent is recorded.
"""

from __future__ import annotations

import asyncio
import math
import zlib
from typing import TYPE_CHECKING, Any

import msgspec

from harness.units import NS, now_ns

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Firing(msgspec.Struct, frozen=True):
    """One request of a schedule: its number from 0, when it was due and when it was sent, ns since the run's origin."""

    op: int
    due: int
    sent: int


class Counts(msgspec.Struct):
    """What a schedule did. `skipped`: due but not sent, as too many were in flight. `latest`: ns, the worst lateness."""

    sent: int = 0
    skipped: int = 0
    latest: int = 0
    abandoned: int = 0


def phase_of(name: str, interval: int) -> int:
    """Where in the interval a probe of that name begins: spreads the probes of one process, the same in every run."""
    return zlib.crc32(name.encode()) % interval


class Schedule:
    """Fires `act` each `interval` ns from `start` (ns since origin) on.

    At most `limit` firings are in flight; what is due above that is counted as skipped. `abandon` is told of each
    firing that is still unanswered when the drain's deadline comes; its task is then cancelled.
    """

    def __init__(
        self,
        act: Callable[[Firing], Awaitable[None]],
        abandon: Callable[[Firing], None],
        *,
        interval: int,
        start: int,
        origin_ns: int,
        limit: int,
    ) -> None:
        if interval <= 0 or limit <= 0:
            raise ValueError("a schedule needs a positive interval and limit")
        self._act = act
        self._abandon = abandon
        self._interval = interval
        self._start = start
        self._origin = origin_ns
        self._limit = limit
        self._slot = 0  # the next grid place
        self._flying: dict[asyncio.Task[None], Firing | None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._broken: asyncio.Future[None] | None = None
        self.counts = Counts()

    def __repr__(self) -> str:
        c = self.counts
        return f"<Schedule sent={c.sent} in_flight={len(self._flying)} skipped={c.skipped} latest={c.latest}ns>"

    async def run(self, stop: asyncio.Event, drain: float) -> Counts:
        """Until `stop`; then wait up to `drain` s for answers. Raises what `act` raises: that is never an outcome."""
        loop = asyncio.get_running_loop()
        self._broken = loop.create_future()
        stopped = loop.create_task(stop.wait())
        try:
            self._tick()
            ends: set[asyncio.Future[Any]] = {stopped, self._broken}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if not self._broken.done():
                self._fire_due()  # what was due before the end, also if the loop was late for it
            self._disarm()
            await self._drain(drain)
            if self._broken.done():
                self._broken.result()
        finally:
            self._disarm()
            stopped.cancel()
            for task in self._flying:
                task.cancel()
            if self._broken.done():
                self._broken.exception()  # seen, also when something else ends this run
        return self.counts

    def _tick(self) -> None:
        try:
            self._fire_due()
        except Exception as error:  # noqa: BLE001 - raised again by run
            self._break(error)
            return
        wait = self._start + self._slot * self._interval - self._now()
        # Whole milliseconds, upward: event loops round timers to that, and a timer that rings early is set twice.
        delay = math.ceil(max(0, wait) / 1_000_000) / 1000
        self._timer = asyncio.get_running_loop().call_later(delay, self._tick)

    def _fire_due(self) -> None:
        now = self._now()
        while (due := self._start + self._slot * self._interval) <= now:
            op, self._slot = self._slot, self._slot + 1
            if len(self._flying) >= self._limit:
                self.counts.skipped += 1
                continue
            task = asyncio.get_running_loop().create_task(self._fire(op, due))
            self._flying[task] = None
            task.add_done_callback(self._landed)

    async def _fire(self, op: int, due: int) -> None:
        firing = Firing(op, due, self._now())
        task = asyncio.current_task()
        assert task is not None
        self._flying[task] = firing
        self.counts.sent += 1
        self.counts.latest = max(self.counts.latest, firing.sent - due)
        await self._act(firing)

    def _landed(self, task: asyncio.Task[None]) -> None:
        self._flying.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._break(error)

    def _break(self, error: BaseException) -> None:
        if self._broken is not None and not self._broken.done():
            self._broken.set_exception(error)

    async def _drain(self, within: float) -> None:
        assert self._broken is not None
        if self._flying:
            await asyncio.wait(list(self._flying), timeout=within)
        left = {task: firing for task, firing in self._flying.items() if not task.done()}
        for task, firing in left.items():
            task.cancel()
            if firing is None:  # cancelled before its first step
                self.counts.skipped += 1
            else:
                self.counts.abandoned += 1
                self._abandon(firing)
        if left:
            await asyncio.wait(list(left), timeout=1.0)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _now(self) -> int:
        return now_ns() - self._origin


def interval_of(rate: float) -> int:
    """Nanoseconds between due times at `rate` requests a second. Raises ValueError for a rate that is not positive."""
    if not rate > 0:
        raise ValueError(f"the rate must be more than 0 requests/s, not {rate}")
    return max(1, round(NS / rate))
