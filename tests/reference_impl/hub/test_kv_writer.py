"""The KV becomes and stays as new as the hubs, whatever happens to it; in virtual time."""

import asyncio

from reference_impl.hub.kv_writer import KVWriter
from reference_impl.kv.memory import MemoryKV
from reference_impl.propagation.store import Store
from reference_impl.propagation.types import Change, Snapshot
from tests.reference_impl.support import run_virtual

CHECK = 1.0


def publish(first, last, *stores):
    for seq in range(first, last + 1):
        for store in stores:
            assert store.apply(Change(seq, "acme", seq, f"k{seq % 9}", {"n": seq}, 0))


def world(test, writers=1, ring=10_000):
    """Run `test(kv, writer, store, …)` with that many hubs' writers on one KV."""

    async def main():
        kv = MemoryKV()
        stores = [Store(ring) for _ in range(writers)]
        own = [KVWriter(kv, store, CHECK) for store in stores]
        tasks = [asyncio.create_task(writer.run()) for writer in own]
        try:
            await test(kv, own, stores)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            assert all(task.cancelled() for task in tasks)

    run_virtual(main())


async def same(kv, store, within):
    await asyncio.sleep(within)
    assert kv._store.snapshot() == store.snapshot()


def test_changes_are_written_as_they_come():
    async def test(kv, writers, stores):
        await asyncio.sleep(0.1)
        publish(1, 1000, *stores)
        await same(kv, stores[0], 0.01)
        assert await kv.fetch(990) == stores[0].changes_since(990, 100)
        assert repr(writers[0]) == "<KVWriter written=1000 of 1000 error=None>"

    world(test)


def test_two_hubs_write_one_kv_at_different_speeds():
    async def test(kv, writers, stores):
        quick, slow = stores
        for at in range(0, 300, 30):
            publish(at + 1, at + 30, quick)
            await asyncio.sleep(0.3)
            assert await kv.ping() == quick.seq
            publish(at + 1, at + 30, slow)
            await asyncio.sleep(0.3)
            await same(kv, quick, 0)

    world(test, writers=2)


def test_a_kv_that_lost_its_data_is_filled_again():
    async def test(kv, writers, stores):
        publish(1, 20, *stores)
        await same(kv, stores[0], CHECK)
        kv.wipe()
        await same(kv, stores[0], CHECK + 0.1)

    world(test)


def test_what_the_ring_no_longer_holds_comes_as_a_snapshot():
    async def test(kv, writers, stores):
        kv.broken = "TIMEOUT"
        publish(1, 50, *stores)
        await asyncio.sleep(3)
        assert writers[0].error.kind == "TIMEOUT"
        assert writers[0].written is None
        kv.broken = None
        await same(kv, stores[0], CHECK + 0.1)
        assert isinstance(await kv.fetch(0), Snapshot)

    world(test, ring=5)


def test_a_kv_that_is_down_is_not_flooded():
    async def test(kv, writers, stores):
        calls = []
        kv.broken = "TIMEOUT"
        real = kv.ping

        async def ping():
            calls.append(asyncio.get_running_loop().time())
            return await real()

        kv.ping = ping
        for _ in range(20):
            publish(stores[0].seq + 1, stores[0].seq + 50, *stores)
            await asyncio.sleep(0.5)
        assert 8 <= len(calls) <= 11
        kv.broken = None
        await same(kv, stores[0], CHECK + 0.1)

    world(test)
