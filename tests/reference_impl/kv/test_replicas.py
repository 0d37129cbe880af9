"""Replicas of the edge KV: whoever of them is lost, late or empty, a reader gets what one of the others has."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_impl.kv.memory import MemoryKV
from reference_impl.kv.replicas import Replicas
from reference_impl.propagation.types import Change
from reference_impl.resilience.errors import CONNECTION_REFUSED, TIMEOUT, CallError
from tests.reference_impl.support import run_virtual

PATIENCE = 0.25
TAKES = 0.5  # s, a call to a replica that hangs


class SlowKV(MemoryKV):
    """`hangs`: each call raises TIMEOUT, after a while. `fetch_broken`: only reading does, at once."""

    hangs = fetch_broken = False

    async def ping(self):
        if self.hangs:
            await asyncio.sleep(TAKES)
            raise CallError(TIMEOUT, "edge KV")
        return await super().ping()

    async def fetch(self, since_seq):
        self._read()
        return await super().fetch(since_seq)

    async def flags(self, org, keys):
        self._read()
        return await super().flags(org, keys)

    def _read(self):
        if self.fetch_broken:
            raise CallError(TIMEOUT, "edge KV")


def change(seq):
    return Change(seq, "acme", seq, f"k{seq}", {"n": seq}, 0)


def pair(test, first=3, second=3):
    """Run `test(replicas, first, second)` with so many changes in each of two replicas."""

    async def main():
        both = [SlowKV(), SlowKV()]
        for kv, held in zip(both, (first, second), strict=True):
            await kv.apply([change(seq) for seq in range(1, held + 1)])
        replicas = Replicas(dict(zip(("near", "far"), both, strict=True)), PATIENCE)
        try:
            await test(replicas, *both)
        finally:
            await replicas.close()

    run_virtual(main())


def test_there_must_be_one():
    with pytest.raises(ValueError, match="no replica"):
        Replicas({}, PATIENCE)


def test_the_preferred_one_is_read_while_it_is_well():
    async def test(replicas, near, far):
        far.fetch_broken = True
        assert await replicas.ping() == 3
        assert [each.seq for each in await replicas.fetch(1)] == [2, 3]
        assert repr(replicas) == "<Replicas near, far at=near newest=3>"

    pair(test)


@pytest.mark.parametrize("how", ["refused", "hangs", "fetch"])
def test_the_other_is_read_when_it_is_lost_and_it_again_when_it_is_back(how):
    async def test(replicas, near, far):
        near.broken = CONNECTION_REFUSED if how == "refused" else None
        near.hangs, near.fetch_broken = how == "hangs", how == "fetch"
        began = asyncio.get_running_loop().time()
        assert [each.seq for each in await replicas.fetch(1)] == [2, 3]
        assert replicas.at == "far"
        assert asyncio.get_running_loop().time() - began <= PATIENCE
        near.broken, near.hangs, near.fetch_broken = None, False, False
        await replicas.fetch(3)
        assert replicas.at == "near"

    pair(test)


def test_one_that_lost_its_data_is_not_read_until_it_has_what_the_other_has():
    async def test(replicas, near, far):
        await replicas.ping()
        near.wipe()
        assert [each.seq for each in await replicas.fetch(0)] == [1, 2, 3]
        assert replicas.at == "far"
        await near.apply([change(seq) for seq in range(1, 4)])
        assert await replicas.ping() == 3
        assert replicas.at == "near"

    pair(test)


def test_one_that_is_cut_off_from_the_hubs_is_left_at_the_second_look():
    async def test(replicas, near, far):
        await replicas.ping()
        await far.apply([change(4)])
        assert await replicas.ping() == 3  # it may be a moment behind
        assert await replicas.ping() == 4
        assert replicas.at == "far"

    pair(test)


def test_where_none_answers_the_preferred_ones_error_is_told():
    async def test(replicas, near, far):
        near.hangs, far.broken = True, CONNECTION_REFUSED
        for call in (replicas.ping(), replicas.fetch(0)):
            with pytest.raises(CallError) as failure:
                await call
            assert failure.value.kind == TIMEOUT
        assert replicas.at is None

    pair(test)


def test_single_flags_come_from_the_one_that_is_read_else_from_the_other():
    async def test(replicas, near, far):
        assert list(await replicas.flags("acme", ["k2", "none"])) == ["k2"]
        near.fetch_broken = True
        assert list(await replicas.flags("acme", ["k3"])) == ["k3"]  # the near one has none
        far.fetch_broken = True
        with pytest.raises(CallError):
            await replicas.flags("acme", ["k2"])
        near.fetch_broken = False
        assert list(await replicas.flags("acme", ["k1", "k3"])) == ["k1"]

    pair(test, first=2, second=3)


def test_one_that_answers_late_is_better_than_none():
    async def test(replicas, near, far):
        async def late():
            await asyncio.sleep(2 * PATIENCE)
            return 3

        near.broken, far.ping = CONNECTION_REFUSED, late
        assert await replicas.ping() == 3
        assert replicas.at == "far"

    pair(test)


def test_what_is_given_up_is_left_behind_quietly():
    async def test(replicas, near, far):
        far.hangs = True
        await replicas.ping()
        await asyncio.sleep(0)
        assert {task.get_name() for task in asyncio.all_tasks()} & {"ping of far"} == set()

    pair(test)


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=1, max_size=4))
def test_never_less_than_what_all_that_answer_had_a_look_before(states):
    """Brute force: whoever is lost in between, the second read is as new as the newest of the rest at the first look."""

    async def main():
        kvs = [SlowKV() for _ in states]
        for kv, (held, _) in zip(kvs, states, strict=True):
            await kv.apply([change(seq) for seq in range(1, held + 1)])
        replicas = Replicas({str(n): kv for n, kv in enumerate(kvs)}, PATIENCE)
        await replicas.ping()
        for kv, (_, lost) in zip(kvs, states, strict=True):
            kv.broken = TIMEOUT if lost else None
        left = [held for held, lost in states if not lost]
        before = max(held for held, _ in states)
        if not left:
            with pytest.raises(CallError):
                await replicas.fetch(0)
            return
        got = await replicas.fetch(0)
        wanted = before if before in left else left[0]
        assert max((each.seq for each in got), default=0) == wanted

    run_virtual(main())
