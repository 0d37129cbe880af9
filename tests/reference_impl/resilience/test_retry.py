"""Retry: attempts and gaps, in virtual time."""

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference_impl.resilience.errors import (
    CONNECTION_REFUSED,
    CONNECTION_RESET,
    INVALID,
    SERVICE_UNAVAILABLE,
    TIMEOUT,
    CallError,
)
from reference_impl.resilience.retry import RetrySettings, retry
from tests.reference_impl.support import run_virtual


def attempts(limits, kinds, seed=1):
    """Times of the attempts' starts and ends, and how it ended. `kinds`: what each attempt raises, None succeeds."""
    times = []

    async def operation(attempt):
        loop = asyncio.get_running_loop()
        start = loop.time()
        await asyncio.sleep(0.03)
        times.append((start, loop.time()))
        assert attempt == len(times)
        if kind := kinds[attempt - 1]:
            raise CallError(kind)
        return f"answer {attempt}"

    async def main():
        try:
            return await retry(operation, limits, random.Random(seed))
        except CallError as error:
            return error.kind

    result = run_virtual(main())
    gaps = [later[0] - earlier[1] for earlier, later in zip(times, times[1:], strict=False)]
    return len(times), gaps, result


@pytest.mark.parametrize("kind", [TIMEOUT, CONNECTION_RESET, SERVICE_UNAVAILABLE])
def test_three_attempts_with_growing_gaps(kind):
    for seed in range(50):
        count, gaps, result = attempts(RetrySettings(), [kind] * 3, seed)
        assert (count, result) == (3, kind)
        assert 0.1 <= gaps[0] <= 0.1101
        assert 0.2 <= gaps[1] <= 0.2201


@pytest.mark.parametrize("kind", [CONNECTION_REFUSED, INVALID, "HTTP_500", "HTTP_404", "HTTP_401"])
def test_other_errors_are_not_retried(kind):
    assert attempts(RetrySettings(), [kind] * 3) == (1, [], kind)


def test_it_ends_with_the_first_success():
    count, _, result = attempts(RetrySettings(), [TIMEOUT, None, TIMEOUT])
    assert (count, result) == (2, "answer 2")


def test_an_error_that_is_not_retried_ends_it_in_the_middle():
    count, _, result = attempts(RetrySettings(), [TIMEOUT, "HTTP_400", None])
    assert (count, result) == (2, "HTTP_400")


def test_the_jitter_is_spread_over_its_range():
    firsts = [attempts(RetrySettings(), [TIMEOUT] * 3, seed)[1][0] for seed in range(100)]
    assert min(firsts) < 0.1025
    assert max(firsts) > 0.1075


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 12),
    st.sampled_from([0.001, 0.1, 2.0, 9.0]),
    st.sampled_from([1.0, 2.0, 10.0]),
    st.integers(),
)
def test_the_delay_never_passes_its_cap(count, initial, multiplier, seed):
    limits = RetrySettings(max_attempts=count, initial_delay=initial, backoff_multiplier=multiplier)
    made, gaps, _ = attempts(limits, [TIMEOUT] * count, seed)
    assert made == count
    expected = initial
    for gap in gaps:
        delay = min(expected, 5.0)
        # Timers count in whole ms.
        assert delay - 1e-9 <= gap <= delay * 1.1 + 0.001 + 1e-9
        expected *= multiplier
