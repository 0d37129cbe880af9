"""The contract of the cache, for the one in memory and the one in a Redis cluster; and what only a cluster does."""

import asyncio
import itertools

import pytest
from redis.asyncio import Redis

from reference_impl.cache.base import CacheSettings, Entry, Miss
from reference_impl.cache.cluster import ClusterCache
from reference_impl.cache.memory import CacheMemory, MemoryCache
from reference_impl.cache.slots import SLOTS, name_of, slot_of
from reference_impl.resilience.errors import CONNECTION_REFUSED, SERVICE_UNAVAILABLE, CallError
from tests.reference_impl.support import until

PATIENT = CacheSettings(timeout=5.0, tend=0.05)
ON = {"state": "ENABLED", "variants": {"on": True, "ü": [None, 1.5]}, "defaultVariant": "on"}
_orgs = itertools.count(1)


def now():
    return asyncio.get_running_loop().time()


async def formed(cache):
    """All nodes know each other, and each answers for its slots."""
    await until(lambda: cache.tender.formed, 30, lambda: cache.tender)
    keys = {cache._node(name_of("ready", f"k{n}")): f"k{n}" for n in range(50)}
    assert len(keys) == 3
    deadline = now() + 30
    for key in keys.values():
        while True:
            try:
                await cache.look("ready", key, 0.001)
            except CallError as error:  # for two seconds a new cluster is down
                assert now() < deadline, error
                await asyncio.sleep(0.05)
            else:
                break


@pytest.fixture(params=["memory", "cluster"])
def run(request):
    """Run an async test with an organisation of its own and two clients of one cache."""

    def go(test):
        async def main():
            if request.param == "memory":
                memory = CacheMemory()
                clients = [MemoryCache(memory), MemoryCache(memory)]
            else:
                links = request.getfixturevalue("redis_cluster").links
                clients = [ClusterCache(links, PATIENT) for _ in range(2)]
            for client in clients:
                await client.start()
            try:
                if request.param == "cluster":
                    await formed(clients[0])
                await test(*clients, f"org-{next(_orgs)}")
            finally:
                for client in clients:
                    await client.close()

        asyncio.run(main())

    return go


def test_what_is_stored_is_found_by_all(run):
    async def test(one, other, org):
        entry = Entry(7, 3, ON)
        assert isinstance(await one.look(org, "k", 0.01), Miss)
        await one.store(org, "k", entry, now() + 60)
        assert await one.look(org, "k", 0.01) == entry
        assert await other.look(org, "k", 0.01) == entry
        assert isinstance(await one.look(org, "other", 0.01), Miss)

    run(test)


def test_that_there_is_no_flag_is_kept_too(run):
    async def test(one, other, org):
        await one.store(org, "k", Entry(0, 0, None), now() + 60)
        found = await other.look(org, "k", 0.01)
        assert found == Entry(0, 0, None)
        assert found.found is None

    run(test)


def test_a_late_fill_never_overwrites_a_newer_entry(run):
    async def test(one, other, org):
        await one.store(org, "k", Entry(9, 4, ON), now() + 60)
        for older in (Entry(8, 3, {"state": "DISABLED"}), Entry(0, 0, None)):
            await other.store(org, "k", older, now() + 60)
            assert await one.look(org, "k", 0.01) == Entry(9, 4, ON)
        await other.store(org, "k", Entry(10, 5, None), now() + 60)
        assert await one.look(org, "k", 0.01) == Entry(10, 5, None)

    run(test)


def test_positions_are_numbers_not_texts(run):
    async def test(one, other, org):
        await one.store(org, "k", Entry(10, 1, ON), now() + 60)
        await other.store(org, "k", Entry(9, 1, None), now() + 60)
        assert await one.look(org, "k", 0.01) == Entry(10, 1, ON)

    run(test)


def test_an_entry_ends_when_it_must(run):
    async def test(one, other, org):
        await one.store(org, "k", Entry(1, 1, ON), now() + 0.2)
        deadline = now() + 10
        while isinstance(await other.look(org, "k", 0.001), Entry):
            assert now() < deadline, "it is there for 10 s"
            await asyncio.sleep(0.02)

    run(test)


def test_a_fill_that_arrives_after_its_time_is_not_kept(run):
    async def test(one, other, org):
        await one.store(org, "k", Entry(1, 1, ON), now() - 0.001)
        assert isinstance(await other.look(org, "k", 0.01), Miss)

    run(test)


def test_one_of_all_that_miss_is_to_fill(run):
    async def test(one, other, org):
        looks = [client.look(org, "k", 30) for client in (one, other) * 5]
        assert [miss.mine for miss in await asyncio.gather(*looks)].count(True) == 1
        assert await other.look(org, "k", 30) == Miss(mine=False)

    run(test)


def test_whoever_does_not_fill_is_followed_by_another(run):
    async def test(one, other, org):
        assert await one.look(org, "k", 0.05) == Miss(mine=True)
        deadline = now() + 10
        while await other.look(org, "k", 0.05) != Miss(mine=True):
            assert now() < deadline, "nobody may fill it for 10 s"
            await asyncio.sleep(0.01)

    run(test)


# -- only a cluster ------------------------------------------------------------------------------------------------


def with_cluster(redis_cluster, test, settings=PATIENT):
    async def main():
        cache = ClusterCache(redis_cluster.links, settings)
        await cache.start()
        try:
            await formed(cache)
            await test(cache)
        finally:
            await cache.close()

    asyncio.run(main())


def test_slots_are_shared_and_told(redis_cluster):
    async def test(cache):
        told = cache.status()
        assert told["formed"]
        slots = [node["slots"] for node in told["nodes"].values()]
        assert sum(slots) == SLOTS
        assert max(slots) - min(slots) <= 1

    with_cluster(redis_cluster, test)


def test_a_client_that_is_wrong_about_a_slot_follows_and_learns(redis_cluster):
    async def test(cache):
        await cache.store("acme", "moved", Entry(1, 1, ON), now() + 60)
        slot = slot_of(name_of("acme", "moved"))
        right = cache._owner[slot]
        await cache._tasks.stop()  # or it would be told before it is wrong
        cache._owner[slot] = next(name for name in cache.nodes if name != right)
        assert await cache.look("acme", "moved", 0.01) == Entry(1, 1, ON)
        assert cache._owner[slot] == right
        assert cache.moved == 1

    with_cluster(redis_cluster, test)


def test_a_slot_on_its_way_is_asked_for_where_it_goes(redis_cluster):
    async def test(cache):
        name = name_of("acme", "on-the-way")
        slot = slot_of(name)
        source = cache._node(name)
        target = next(node for node in cache.nodes.values() if node is not source)
        ids = {}
        for node in (source, target):
            ids[node] = (await node.command("CLUSTER", "MYID")).decode()
        await target.command("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source])
        await source.command("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target])
        try:
            await cache.store("acme", "on-the-way", Entry(5, 1, ON), now() + 60)
            assert await cache.look("acme", "on-the-way", 0.01) == Entry(5, 1, ON)
            assert cache._node(name) is source  # ASK is for one question
            direct = Redis(host=target.link.host, port=target.link.port, socket_timeout=5)
            assert await direct.dbsize() >= 1
            await direct.aclose()
        finally:
            for node in (source, target):
                await node.command("CLUSTER", "SETSLOT", slot, "STABLE")

    with_cluster(redis_cluster, test)


def test_a_lost_node_costs_its_own_slots_only_and_comes_back(redis_cluster):
    async def test(cache):
        keys = {cache._node(name_of("acme", f"k{n}")).link.to: f"k{n}" for n in range(50)}
        lost = redis_cluster.servers[0]
        lost.kill()
        try:
            for name, key in keys.items():
                if name == "cache-1":
                    with pytest.raises(CallError) as caught:
                        await cache.look("acme", key, 0.01)
                    assert caught.value.kind in (CONNECTION_REFUSED, "CONNECTION_RESET")
                else:
                    await cache.store("acme", key, Entry(1, 1, ON), now() + 60)
                    assert await cache.look("acme", key, 0.01) == Entry(1, 1, ON)
            for _ in range(PATIENT.breaker.failure_threshold):
                with pytest.raises(CallError) as caught:
                    await cache.look("acme", keys["cache-1"], 0.01)
            assert caught.value.kind == SERVICE_UNAVAILABLE
            assert cache.status()["nodes"]["cache-1"]["state"] == "OPEN"
        finally:
            lost.start()
        await formed(cache)
        assert isinstance(await cache.look("acme", keys["cache-1"], 0.001), Miss)

    with_cluster(redis_cluster, test)
