"""What request probes share: the frame around a schedule, the keys they cycle, how many may wait."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any, TypeVar

from harness.history import ProbeEnd
from harness.probes.schedule import Counts, Schedule, phase_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable

    from harness.history import Probe as ProbeStart
    from harness.probes.schedule import Firing
    from harness.probes.site import Site

MAX_IN_FLIGHT = 1000
T = TypeVar("T")


def default_limit(rate: float, longest: float) -> int:
    """How many requests of `longest` s each can wait at `rate`/s, with a margin: a full outage skips nothing."""
    return min(MAX_IN_FLIGHT, math.ceil(rate * longest * 1.25) + 8)


def keys_for(keys: tuple[str, ...]) -> Callable[[int], str]:
    """The key of request n: `keys` in turn; "{n}" in a key makes a new key each time."""
    if not any("{n}" in key for key in keys):
        return lambda n: keys[n % len(keys)]
    return lambda n: keys[n % len(keys)].replace("{n}", str(n))


async def run_open_loop(
    site: Site,
    start: ProbeStart,
    act: Callable[[Firing], Awaitable[None]],
    abandon: Callable[[Firing], None],
    stop: asyncio.Event,
    *,
    limit: int,
    drain: float,
) -> None:
    """Record `start`, fire `act` on the grid until `stop`, record the ProbeEnd with what was counted."""
    schedule = Schedule(
        act,
        abandon,
        interval=start.interval,
        start=start.t + phase_of(start.name, start.interval),
        origin_ns=site.origin_ns,
        limit=limit,
    )
    site.record(start)
    await schedule.run(stop, drain)
    record_end(site, start.name, schedule.counts)


async def all_of(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run all at once; their results in order. The first error cancels the others and is raised as it is, ungrouped."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in work]
    except BaseExceptionGroup as errors:
        error: BaseException = errors
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from None
    return [task.result() for task in tasks]


def record_end(site: Site, name: str, counts: Counts) -> None:
    site.record(
        ProbeEnd(
            t=site.now(),
            name=name,
            sent=counts.sent,
            skipped=counts.skipped,
            latest=counts.latest,
        )
    )
