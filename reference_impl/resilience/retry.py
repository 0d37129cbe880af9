"""Retry with exponential backoff and jitter ("Retry Strategy")."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import msgspec

from reference_impl.config import Positive
from reference_impl.resilience.errors import (
    CONNECTION_RESET,
    SERVICE_UNAVAILABLE,
    TIMEOUT,
    CallError,
)

T = TypeVar("T")


class RetrySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Delays in s. `jitter` is the largest part of a delay that chance may add to it.

    A refused connection is not in the list: no server is there, and the caller has another upstream to go to.
    """

    max_attempts: Annotated[int, msgspec.Meta(ge=1)] = 3
    initial_delay: Positive = 0.1
    max_delay: Positive = 5.0
    backoff_multiplier: Annotated[float, msgspec.Meta(ge=1)] = 2.0
    jitter: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.1
    retryable_errors: tuple[str, ...] = (TIMEOUT, CONNECTION_RESET, SERVICE_UNAVAILABLE)


async def retry(
    operation: Callable[[int], Awaitable[T]], settings: RetrySettings, chance: random.Random
) -> T:
    """Call `operation(attempt)`, attempts counted from 1, until it succeeds. Raises the last `CallError`.

    The wait begins when the failure is known: between two attempts lie `delay` to `delay * (1 + jitter)` s.
    """
    delay = min(settings.initial_delay, settings.max_delay)
    for attempt in range(1, settings.max_attempts):
        try:
            return await operation(attempt)
        except CallError as error:
            if error.kind not in settings.retryable_errors:
                raise
        await _wait(delay, chance.uniform(0, delay * settings.jitter))
        delay = min(delay * settings.backoff_multiplier, settings.max_delay)
    return await operation(settings.max_attempts)


async def _wait(delay: float, jitter: float) -> None:
    """Wait for `delay + jitter` s, never less than `delay`.

    The loop's timers may count in whole ms and fire early by a part of one, so the sum is rounded up to the next.
    """
    await asyncio.sleep(math.ceil((delay + jitter) * 1000) / 1000)
