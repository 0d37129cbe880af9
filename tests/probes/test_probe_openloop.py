import asyncio

import pytest

from harness.errors import RuntimeFailure
from harness.probes.openloop import MAX_IN_FLIGHT, all_of, default_limit, keys_for


def test_all_of_gives_results_in_order_or_the_first_error_itself(run):
    ended = []

    async def give(value):
        return value

    async def fail():
        raise RuntimeFailure("no ports left")

    async def wait():
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")

    assert run(all_of([give(1), give(2)])) == [1, 2]
    assert run(all_of([])) == []
    with pytest.raises(RuntimeFailure, match="no ports left"):
        run(all_of([wait(), fail()]))
    assert ended == ["cancelled"]


def test_a_full_outage_fits_into_the_limit():
    assert default_limit(200, 2.0) >= 400
    assert default_limit(10, 0.5) >= 5
    assert default_limit(1_000_000, 10) == MAX_IN_FLIGHT


def test_keys():
    assert [keys_for(("a", "b"))(n) for n in range(3)] == ["a", "b", "a"]
    assert [keys_for(("a-{n}", "b"))(n) for n in range(3)] == ["a-0", "b", "a-2"]
