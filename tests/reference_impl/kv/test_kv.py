"""The contract of the edge KV, for the one in memory and the one in Redis."""

import asyncio

import pytest

from reference_impl.kv.memory import MemoryKV
from reference_impl.kv.redis import RedisKV
from reference_impl.propagation.store import Store, replay
from reference_impl.propagation.types import Change, FlagState, OrgState, Snapshot
from reference_impl.resilience.errors import CONNECTION_REFUSED, TIMEOUT, CallError
from tests.reference_impl.support import own_host

KEPT = 5


@pytest.fixture(params=["memory", "redis"])
def make(request):
    """Make a KV; called twice, a second client of the same data."""
    if request.param == "memory":
        kv = MemoryKV(KEPT)
        return lambda: kv
    server = request.getfixturevalue("redis_server")
    return lambda: RedisKV(server.host, server.port, timeout=5.0, kept=KEPT)


def contract(test):
    """Run an async test with one client, or two."""

    def run(make):
        async def main():
            first, second = make(), make()
            try:
                await test(*[first, second][: test.__code__.co_argcount])
            finally:
                await first.close()
                await second.close()

        asyncio.run(main())

    run.__name__ = test.__name__
    return run


def change(seq, org="acme", key=None, flag="on"):
    definition = None if flag is None else {"state": "ENABLED", "is": flag, "ü": [1, None, 0.5]}
    return Change(seq, org, seq, key or f"flag-{seq}", definition, 1764000000000000000 + seq)


def log(n):
    return [change(seq) for seq in range(1, n + 1)]


@contract
async def test_a_new_one_has_nothing(kv):
    assert await kv.ping() == 0
    assert await kv.fetch(0) == []
    assert await kv.fetch(7) == []


@contract
async def test_changes_come_back_as_they_were_written(kv):
    assert await kv.apply(log(3)) == 3
    assert await kv.ping() == 3
    assert await kv.fetch(0) == log(3)
    assert await kv.fetch(2) == log(3)[2:]
    assert await kv.fetch(3) == []
    assert await kv.fetch(9) == []


@contract
async def test_applying_twice_changes_nothing(kv, other):
    await kv.apply(log(3))
    assert await other.apply(log(2)) == 3
    assert await other.apply(log(4)) == 4
    assert await kv.fetch(0) == log(4)


@contract
async def test_a_gap_writes_nothing(kv):
    await kv.apply(log(2))
    assert await kv.apply([change(4), change(5)]) == 2
    assert await kv.fetch(0) == log(2)


@contract
async def test_who_is_too_far_behind_gets_everything(kv):
    changes = [*log(7), change(8, key="flag-2", flag=None), change(9, org="zeta/ü")]
    await kv.apply(changes)
    assert await kv.fetch(4) == changes[4:]
    assert await kv.fetch(3) == replay(changes)


@contract
async def test_replace_takes_the_place_of_all(kv):
    await kv.apply(log(2))
    state = {"state": "DISABLED", "n": 1}
    new = Snapshot(9, {"b": OrgState(4, {"x": FlagState(9, state)}), "gone": OrgState(2, {})})
    assert await kv.replace(new) == 9
    assert await kv.fetch(0) == new
    assert await kv.fetch(8) == new
    assert await kv.apply([change(10)]) == 10
    assert await kv.fetch(9) == [change(10)]


@contract
async def test_replace_never_goes_back(kv):
    await kv.apply(log(3))
    assert await kv.replace(Snapshot(2, {})) == 3
    assert await kv.replace(Snapshot(3, {})) == 3
    assert await kv.fetch(0) == log(3)


@contract
async def test_two_writers_end_with_the_same_data(kv, other):
    changes = [change(seq, key=f"k{seq % 7}") for seq in range(1, 61)]

    async def write(through, step):
        at = 0
        while at < len(changes):
            at = await through.apply(changes[at : at + step])

    await asyncio.gather(write(kv, 1), write(other, 3))
    assert await kv.fetch(0) == replay(changes)


@contract
async def test_a_reader_never_sees_half(kv, other):
    """While one writes whole snapshots, each read is one of them or changes that follow."""
    states = [
        Snapshot(n, {"o": OrgState(n, {f"k{i}": FlagState(n, {"n": n}) for i in range(50)})})
        for n in range(10, 200, 10)
    ]

    async def write():
        for state in states:
            await kv.replace(state)

    writer = asyncio.create_task(write())
    seen = 0
    while not writer.done():
        got = await other.fetch(0)
        if got != []:
            assert got == states[got.seq // 10 - 1]
            assert got.seq >= seen
            seen = got.seq
        await asyncio.sleep(0)
    await writer
    assert await other.fetch(0) == states[-1]


@contract
async def test_single_flags_are_those_of_now(kv):
    await kv.apply([*log(3), change(4, key="flag-2"), change(5, key="flag-3", flag=None)])
    await kv.apply([change(6, org="zeta/ü", key="a/b")])
    found = await kv.flags("acme", ["flag-1", "flag-2", "flag-3", "flag-9"])
    assert found == {
        "flag-1": FlagState(1, change(1).flag),
        "flag-2": FlagState(4, change(4).flag),
    }
    assert list(await kv.flags("zeta/ü", ["a/b", "flag-1"])) == ["a/b"]
    assert await kv.flags("nobody", ["flag-1"]) == {}
    assert await kv.flags("acme", []) == {}


def test_a_refused_connection_has_its_kind():
    async def main():
        kv = RedisKV(own_host(), 6379, timeout=5.0)
        with pytest.raises(CallError) as caught:
            await kv.ping()
        await kv.close()
        return caught.value.kind

    assert asyncio.run(main()) == CONNECTION_REFUSED


def test_a_server_that_never_answers_times_out():
    async def main():
        async def silent(reader, writer):
            await reader.read()
            writer.close()

        server = await asyncio.start_server(silent, "127.0.0.1", 0)
        async with server:
            kv = RedisKV("127.0.0.1", server.sockets[0].getsockname()[1], timeout=0.1)
            with pytest.raises(CallError) as caught:
                await kv.ping()
            await kv.close()
        return caught.value.kind

    assert asyncio.run(main()) == TIMEOUT


def test_a_killed_server_comes_back_empty(redis_server):
    async def main():
        kv = RedisKV(redis_server.host, redis_server.port, timeout=5.0)
        await kv.apply(log(3))
        redis_server.kill()
        with pytest.raises(CallError) as caught:
            await kv.ping()
        assert caught.value.kind in ("CONNECTION_RESET", "CONNECTION_REFUSED")
        redis_server.start()
        assert await kv.ping() == 0
        store = Store()
        for one in log(3):
            store.apply(one)
        assert await kv.replace(store.snapshot()) == 3
        await kv.close()

    asyncio.run(main())
