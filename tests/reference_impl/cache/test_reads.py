"""Reads through the cache, in virtual time: never older than they may be, and no stampede."""

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference_impl.cache.base import CacheSettings
from reference_impl.cache.memory import CacheMemory, MemoryCache
from reference_impl.cache.reads import CachedReads
from reference_impl.resilience.errors import CONNECTION_REFUSED, TIMEOUT
from reference_impl.storage.memory import MemoryChangeLog, MemoryDatabase
from tests.reference_impl.support import run_virtual

SETTINGS = CacheSettings()
TTL, SHELTER = SETTINGS.ttl, SETTINGS.shelter


def now():
    return asyncio.get_running_loop().time()


class SlowLog(MemoryChangeLog):
    """Answers after `takes` s what was true when it was asked."""

    def __init__(self, database, takes=0.02):
        super().__init__(database)
        self.takes = takes
        self.asked = []

    async def get(self, org, key):
        self.asked.append(now())
        found = await super().get(org, key)
        await asyncio.sleep(self.takes)
        return found


class World:
    """API servers with one database and one cache."""

    def __init__(self, servers=2, takes=0.02):
        self.database, self.memory = MemoryDatabase(), CacheMemory()
        self.log = SlowLog(self.database, takes)
        self.servers = [
            CachedReads(self.log, MemoryCache(self.memory), SETTINGS, random.Random(n))
            for n in range(servers)
        ]

    async def write(self, value, server=0, key="k"):
        change = await self.log.put_flag("acme", key, {"value": value}, 0)
        await self.servers[server].wrote(change)

    async def read(self, server=0, key="k", **how):
        found = await self.servers[server].get("acme", key, **how)
        return found and found[0].flag["value"]


def test_what_is_read_again_is_not_asked_of_the_database():
    async def main():
        world = World()
        assert await world.read() is None
        await world.write(1)
        assert [await world.read(n % 2) for n in range(20)] == [1] * 20
        assert len(world.log.asked) == 1
        assert world.servers[0].status()["hits"] == 10
        assert world.servers[1].status()["hits"] == 10

    run_virtual(main())


def test_a_change_by_one_server_is_seen_at_once_by_the_other():
    async def main():
        world = World()
        for value in range(5):
            await world.write(value, server=value % 2)
            assert await world.read(1 - value % 2) == value

    run_virtual(main())


def test_a_deletion_is_seen_too():
    async def main():
        world = World()
        await world.write(1)
        change = await world.log.put_flag("acme", "k", None, 0)
        await world.servers[0].wrote(change)
        assert await world.read(1) is None
        assert not world.log.asked

    run_virtual(main())


@pytest.mark.parametrize("broken", [None, TIMEOUT])
def test_a_hundred_readers_at_once_are_one_read_of_each_server_at_most(broken):
    async def main():
        world = World()
        await world.log.put_flag("acme", "k", {"value": 1}, 0)
        world.memory.broken = broken
        values = await asyncio.gather(*(world.read(n % 2) for n in range(100)))
        assert values == [1] * 100
        # With the cache, servers wait for each other as well.
        assert len(world.log.asked) == (1 if broken is None else 2)

    run_virtual(main())


def test_a_lost_cache_costs_the_database_two_reads_a_second_of_a_flag_and_server():
    async def main():
        world = World()
        await world.write(1)
        world.memory.broken = CONNECTION_REFUSED
        began = now()
        while now() < began + 10:
            assert await world.read(0) == await world.read(1) == 1
            await asyncio.sleep(0.01)
        assert len(world.log.asked) <= 2 * (10 / SHELTER + 1)
        assert world.servers[1].status()["sheltered"] > 500

    run_virtual(main())


def test_one_who_does_not_fill_holds_the_others_up_for_a_moment_only():
    async def main():
        world = World()
        await world.log.put_flag("acme", "k", {"value": 1}, 0)
        await world.servers[0].cache.look("acme", "k", SETTINGS.hold)  # and dies
        began = now()
        assert await world.read(1) == 1
        assert now() - began <= SETTINGS.hold + SETTINGS.poll + world.log.takes + 0.001

    run_virtual(main())


def test_a_reader_who_hangs_up_takes_nothing_from_the_others():
    async def main():
        world = World()
        await world.log.put_flag("acme", "k", {"value": 1}, 0)
        first = asyncio.create_task(world.read())
        await asyncio.sleep(0.001)
        second = asyncio.create_task(world.read())
        await asyncio.sleep(0.001)
        first.cancel()
        assert await second == 1
        assert len(world.log.asked) == 1

    run_virtual(main())


def test_who_asks_past_the_cache_gets_the_database_and_mends_the_cache():
    async def main():
        world = World()
        await world.write(1)
        await world.log.put_flag("acme", "k", {"value": 2}, 0)  # whose server died before it told
        assert await world.read() == 1
        assert await world.read(bypass=True) == 2
        await asyncio.sleep(0)
        assert await world.read(1) == 2

    run_virtual(main())


def test_what_was_never_told_ends_with_its_time():
    async def main():
        world = World()
        await world.write(1)
        await world.log.put_flag("acme", "k", {"value": 2}, 0)
        await asyncio.sleep(TTL * (1 - SETTINGS.jitter) - 0.01)
        assert await world.read() == 1
        await asyncio.sleep(TTL * SETTINGS.jitter + 0.02)
        assert await world.read() == 2

    run_virtual(main())


def test_a_database_that_fails_is_told_to_every_reader():
    async def main():
        world = World()
        world.database.broken = TIMEOUT
        done = await asyncio.gather(*(world.read() for _ in range(5)), return_exceptions=True)
        assert [error.kind for error in done] == [TIMEOUT] * 5
        world.database.broken = None
        await asyncio.sleep(SETTINGS.hold)
        assert await world.read() is None

    run_virtual(main())


def test_closing_ends_what_is_under_way():
    async def main():
        world = World(takes=100)
        reading = asyncio.create_task(world.read())
        await asyncio.sleep(0.01)
        await world.servers[0].close()
        with pytest.raises(asyncio.CancelledError):
            await reading

    run_virtual(main())


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["write", "silent write", "read", "lose", "restore", "wipe", "wait"]),
        st.integers(0, 1),
        st.floats(0, 1.5),
    ),
    max_size=60,
)


@given(STEPS)
@settings(max_examples=200, deadline=None)
def test_no_read_is_older_than_an_entry_may_be(steps):
    """Whatever is lost and whoever dies before telling: the model keeps each value with the time it was replaced."""

    async def main():
        world = World(takes=0.05)
        replaced = {None: 10.0**9}  # value to the time from which it is out of date
        latest = None
        tasks = []

        async def reader(server):
            began = now()
            value = await world.read(server)
            age = began - replaced[value]
            assert age <= TTL + world.log.takes, (value, age)

        for n, (what, server, wait) in enumerate(steps):
            match what:
                case "write" | "silent write":
                    replaced[latest], replaced[n] = now(), 10.0**9
                    latest = n
                    if what == "write":
                        await world.write(n, server)
                    else:
                        await world.log.put_flag("acme", "k", {"value": n}, 0)
                case "read":
                    tasks.append(asyncio.create_task(reader(server)))
                case "lose":
                    world.memory.broken = TIMEOUT
                case "restore":
                    world.memory.broken = None
                case "wipe":
                    world.memory.wipe()
            if what == "wait" or wait < 0.2:
                await asyncio.sleep(wait)
        await asyncio.gather(*tasks)

    run_virtual(main())


def test_a_lost_cache_is_no_error_of_a_write():
    async def main():
        world = World()
        world.memory.broken = TIMEOUT
        await world.write(1)
        assert await world.read(1) == 1
        assert world.servers[0].status()["errors"] == 1

    run_virtual(main())
