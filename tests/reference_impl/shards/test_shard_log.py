"""The storage over several databases: each call goes where the organisation is, also while it moves and while others are away."""

import asyncio

import pytest

from reference_impl.resilience.errors import SERVICE_UNAVAILABLE, TIMEOUT, CallError
from reference_impl.shards.log import ShardedChangeLog, ShardSettings
from reference_impl.shards.memory import MemoryShards
from reference_impl.shards.shard import Shard, shards
from tests.reference_impl.support import run_virtual, until

ON = {"state": "ENABLED", "variants": {"on": True}, "defaultVariant": "on"}
ZERO, ONE = (
    next(f"org-{n}" for n in range(100) if Shard(2, rest).has(f"org-{n}")) for rest in (0, 1)
)


def sharded(test, **given):
    """Run `test(log, a, b)` in virtual time: a has shard 0 of 2, b shard 1."""

    async def main():
        a, b = MemoryShards("a"), MemoryShards("b")
        await a.place([Shard(2, 0)])
        await b.place([Shard(2, 1)])
        log = ShardedChangeLog([a, b], ShardSettings(**given))
        await log.start()
        try:
            await test(log, a, b)
        finally:
            await log.close()

    run_virtual(main())


def test_each_organisation_has_its_database():
    async def test(log, a, b):
        for org in (ZERO, ONE):
            assert (await log.put_flag(org, "k", ON, 1)).version == 1
            assert (await log.get(org, "k"))[0].flag == ON
            assert set((await log.list_org(org)).flags) == {"k"}
        assert (await a.organisations(), await b.organisations()) == ([ZERO], [ONE])

    sharded(test)


def test_one_that_is_away_touches_only_its_own():
    async def test(log, a, b):
        await log.put_flag(ONE, "k", ON, 1)
        b.broken = TIMEOUT
        for _ in range(5):
            await log.put_flag(ZERO, "k", ON, 1)
            await asyncio.sleep(1)
        with pytest.raises(CallError) as caught:
            await log.put_flag(ONE, "k", ON, 1)
        assert caught.value.kind == TIMEOUT
        b.broken = None
        assert (await log.put_flag(ONE, "k", ON, 1)).version == 2

    sharded(test)


def test_it_begins_with_those_that_are_there():
    async def main():
        a, b = MemoryShards("a"), MemoryShards("b")
        await a.place([Shard(2, 0)])
        b.broken = TIMEOUT
        log = ShardedChangeLog([a, b])
        await log.start()
        assert (await log.put_flag(ZERO, "k", ON, 1)).version == 1
        await log.close()

    run_virtual(main())


def test_what_has_moved_is_found_at_once():
    async def test(log, a, b):
        await log.put_flag(ONE, "k", ON, 1)
        changes = await b.changes_after(Shard(2, 1), {}, 10)
        await b.close_shard(Shard(2, 1))
        await a.replay(changes)
        await a.open_shard(Shard(2, 1), 2)
        began = asyncio.get_running_loop().time()
        assert (await log.put_flag(ONE, "k", ON, 1)).version == 2
        assert asyncio.get_running_loop().time() - began < 0.1
        assert log.map.owner(ONE) == "a"

    sharded(test, poll=60.0)


def test_a_call_waits_for_a_hand_over_but_not_for_ever():
    async def test(log, a, b):
        loop = asyncio.get_running_loop()
        await b.close_shard(Shard(2, 1))
        began = loop.time()
        with pytest.raises(CallError) as caught:
            await log.put_flag(ONE, "k", ON, 1)
        assert caught.value.kind == SERVICE_UNAVAILABLE
        assert 1.5 <= loop.time() - began < 1.7
        waiting = asyncio.create_task(log.put_flag(ONE, "k", ON, 1))
        await asyncio.sleep(1)
        assert not waiting.done()
        await a.open_shard(Shard(2, 1), 2)
        assert (await waiting).version == 1

    sharded(test)


def test_it_begins_when_the_databases_are_there():
    async def main():
        a = MemoryShards("a")
        a.broken = TIMEOUT
        log = ShardedChangeLog([a])
        await log.start()
        with pytest.raises(CallError):
            await log.get(ZERO, "k")
        a.broken = None
        await a.place(shards(2))
        await until(lambda: log.map.owner(ZERO) == "a", seen=lambda: log)
        assert await log.get(ZERO, "k") is None
        await log.close()

    run_virtual(main())


def test_there_is_no_common_log():
    async def test(log, a, b):
        for call in (log.snapshot(), log.changes_since(0, 1)):
            with pytest.raises(CallError, match="a log of its own"):
                await call
        await log.news(0.01)

    sharded(test)
