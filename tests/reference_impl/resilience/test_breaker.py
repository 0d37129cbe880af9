"""The circuit breaker, against a model of the specification that shares no code with it, in virtual time."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference_impl.resilience.breaker import Breaker, BreakerSettings, State
from reference_impl.resilience.errors import TIMEOUT, CallError
from tests.reference_impl.support import run_virtual

LIMITS = BreakerSettings()


async def fail():
    raise CallError(TIMEOUT)


async def succeed():
    return "done"


def fallback(error):
    return "fallback" if error else "not called"


class Model:
    """The specification's pseudo-code with the decisions of the module's docstring; calls one after the other."""

    def __init__(self, limits):
        self.limits, self.state = limits, "CLOSED"
        self.failures = self.successes = 0
        self.last_failure = None

    def call(self, now, works):
        if self.state == "OPEN":
            if now - self.last_failure <= self.limits.timeout:
                return "not called"
            self.state, self.successes = "HALF_OPEN", 0
        if works:
            if self.state == "CLOSED":
                self.failures = 0
            else:
                self.successes += 1
                if self.successes == self.limits.success_threshold:
                    self.state, self.failures = "CLOSED", 0
            return "done"
        self.last_failure = now
        self.failures += 1
        if self.state == "HALF_OPEN" or self.failures >= self.limits.failure_threshold:
            self.state = "OPEN"
        return "fallback"


@settings(max_examples=150, deadline=None)
@given(
    st.builds(
        BreakerSettings,
        failure_threshold=st.integers(1, 5),
        success_threshold=st.integers(1, 3),
        timeout=st.sampled_from([1.0, 30.0]),
    ),
    st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.5, 29.0, 31.0]), st.booleans()), max_size=60),
)
def test_it_does_what_the_specification_says(limits, calls):
    async def main():
        loop = asyncio.get_running_loop()
        breaker, model = Breaker("b", limits), Model(limits)
        for pause, works in calls:
            await asyncio.sleep(pause)
            got = await breaker.call(succeed if works else fail, fallback)
            assert got == model.call(loop.time(), works)
            assert breaker.state == model.state
        return breaker

    breaker = run_virtual(main())
    states = ["CLOSED", *(turn.state for turn in breaker.transitions)]
    assert set(zip(states, states[1:], strict=False)) <= {
        ("CLOSED", "OPEN"),
        ("OPEN", "HALF_OPEN"),
        ("HALF_OPEN", "OPEN"),
        ("HALF_OPEN", "CLOSED"),
    }


def test_five_failures_open_it_thirty_seconds_and_three_successes_close_it():
    async def main():
        breaker = Breaker("b", LIMITS)
        for _ in range(5):
            assert breaker.state is State.CLOSED
            await breaker.call(fail, fallback)
        await asyncio.sleep(30.0)
        assert await breaker.call(succeed, fallback) == "not called"
        await asyncio.sleep(0.001)
        for _ in range(3):
            assert await breaker.call(succeed, fallback) == "done"
        return [(turn.state, round(turn.at, 3)) for turn in breaker.transitions]

    assert run_virtual(main()) == [
        (State.OPEN, 0.0),
        (State.HALF_OPEN, 30.001),
        (State.CLOSED, 30.001),
    ]


def test_failures_that_are_not_in_a_row_never_open_it():
    async def main():
        breaker = Breaker("b", LIMITS)
        for _ in range(50):
            for _ in range(4):
                await breaker.call(fail, fallback)
            await breaker.call(succeed, fallback)
        return breaker

    assert repr(run_virtual(main())) == "<Breaker b CLOSED failures=0 successes=0>"


async def opened():
    breaker = Breaker("b", LIMITS)
    for _ in range(5):
        await breaker.call(fail, fallback)
    await asyncio.sleep(31)
    return breaker


def test_one_trial_at_a_time():
    async def main():
        breaker = await opened()
        release = asyncio.Event()
        trial = asyncio.create_task(breaker.call(release.wait, fallback))
        await asyncio.sleep(0)
        assert [await breaker.call(succeed, fallback) for _ in range(3)] == ["not called"] * 3
        release.set()
        assert await trial is True
        assert await breaker.call(succeed, fallback) == "done"

    run_virtual(main())


def test_a_failed_trial_opens_it_for_another_full_timeout():
    async def main():
        breaker = await opened()
        await breaker.call(succeed, fallback)
        await breaker.call(fail, fallback)
        assert breaker.state is State.OPEN
        await asyncio.sleep(30)
        assert await breaker.call(succeed, fallback) == "not called"
        await asyncio.sleep(0.001)
        assert await breaker.call(succeed, fallback) == "done"
        assert breaker.success_count == 1

    run_virtual(main())


def test_a_cancelled_trial_makes_room_for_the_next():
    async def main():
        breaker = await opened()
        trial = asyncio.create_task(breaker.call(asyncio.Event().wait, fallback))
        await asyncio.sleep(0)
        trial.cancel()
        await asyncio.wait({trial})
        assert await breaker.call(succeed, fallback) == "done"

    run_virtual(main())


def test_calls_from_before_a_transition_do_not_count():
    async def main():
        breaker = Breaker("b", LIMITS)

        async def slow():
            await asyncio.sleep(10)
            raise CallError(TIMEOUT)

        late = [asyncio.create_task(breaker.call(slow, fallback)) for _ in range(9)]
        await asyncio.sleep(1)
        for _ in range(5):
            await breaker.call(fail, fallback)
        assert await asyncio.gather(*late) == ["fallback"] * 9
        await asyncio.sleep(21.001)
        assert breaker.failure_count == 5
        assert await breaker.call(succeed, fallback) == "done"

    run_virtual(main())


def test_a_bug_is_no_failure_of_the_other_side():
    async def bug():
        raise ZeroDivisionError

    async def main():
        breaker = await opened()
        with pytest.raises(ZeroDivisionError):
            await breaker.call(bug, fallback)
        assert await breaker.call(succeed, fallback) == "done"

    run_virtual(main())
