import asyncio

import pytest

from reference_impl.pop.checks import Check, grid


def test_unknown_is_down_and_one_success_is_up():
    check = Check("kv")
    assert not check.ok
    check.succeeded()
    assert check.ok


def test_one_timeout_is_forgiven_two_in_a_row_are_not():
    check = Check("kv")
    check.succeeded()
    check.failed("TIMEOUT")
    assert check.ok
    check.succeeded()
    check.failed("TIMEOUT")
    assert check.ok
    check.failed("CONNECTION_RESET")
    assert not check.ok
    assert check.error == "CONNECTION_RESET"


def test_a_refused_connection_counts_at_once():
    check = Check("origin")
    check.succeeded()
    check.failed("CONNECTION_REFUSED")
    assert not check.ok


def test_lost_does_not_forgive():
    check = Check("kv")
    check.succeeded()
    check.lost("TIMEOUT")
    assert not check.ok
    assert repr(check) == "<Check kv down, 1 failures in a row, error 'TIMEOUT'>"


def test_grid_is_not_shifted_by_slow_work(virtual):
    async def course():
        loop = asyncio.get_running_loop()
        woken = []
        async for _ in grid(10.0):
            woken.append(loop.time())
            await asyncio.sleep(3.0)
            if len(woken) == 4:
                break
        return woken

    assert virtual(course()) == pytest.approx([0, 10, 20, 30])


def test_grid_makes_up_for_all_that_it_missed_by_one(virtual):
    async def course():
        loop = asyncio.get_running_loop()
        woken = []
        async for _ in grid(10.0, first=5.0):
            woken.append(loop.time())
            await asyncio.sleep(27.0 if len(woken) == 1 else 0.0)
            if len(woken) == 3:
                break
        return woken

    assert virtual(course()) == pytest.approx([5, 32, 35])
