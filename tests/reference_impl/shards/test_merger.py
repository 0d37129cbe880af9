"""One log of all shards' logs: each change once, in the order of its organisation's versions, however shards move meanwhile."""

import asyncio
import itertools

import asyncpg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference_impl.config import Upstream
from reference_impl.propagation.store import replay
from reference_impl.propagation.types import Change
from reference_impl.resilience.errors import INVALID, TIMEOUT, CallError
from reference_impl.shards.hand_over import HandOver
from reference_impl.shards.journal import Move
from reference_impl.shards.memory import MemoryShards
from reference_impl.shards.merged import MemoryMergedLog, PostgresMergedLog
from reference_impl.shards.merger import Merger
from reference_impl.shards.shard import Shard
from reference_impl.storage.memory import MemoryChangeLog, MemoryDatabase
from reference_impl.storage.postgres import DatabaseSettings
from tests.reference_impl.support import environment, node, until

ON = {"state": "ENABLED", "variants": {"on": True, "ü": 1.5}, "defaultVariant": "on"}
PATIENT = {"connect_timeout": 10.0, "call_timeout": 10.0, "retry": 0.02}
ORGS = [f"org-{n}" for n in range(6)]
_names = itertools.count(1)


@pytest.fixture(params=["memory", "postgres"])
def log(request):
    if request.param == "memory":
        return MemoryMergedLog(MemoryDatabase())
    server = request.getfixturevalue("postgres_server")
    name = f"merged_{next(_names)}"

    async def create():
        connection = await asyncpg.connect(
            host=server.host, port=server.port, user="squall", database="postgres", timeout=10
        )
        await connection.execute(f"CREATE DATABASE {name}", timeout=10)
        await connection.close(timeout=10)

    asyncio.run(create())
    link = Upstream("db", "postgres", server.host, server.port)
    return PostgresMergedLog([link], DatabaseSettings(database=name, **PATIENT), "test")


def contract(test):
    def run(log):
        async def main():
            await log.start()
            try:
                await test(log)
            finally:
                await log.close()

        asyncio.run(main())

    run.__name__ = test.__name__
    return run


def change(seq, org, version, flag=ON):
    return Change(seq, org, version, "k", flag, 1000 + seq)


@contract
async def test_changes_of_two_sources_are_one_log(log):
    assert await log.position("a") == 0
    await log.merge("a", [change(3, "x", 1), change(9, "x", 2, None)])
    await log.merge("b", [change(1, "y", 1)])
    assert (await log.position("a"), await log.position("b")) == (9, 1)
    merged = await log.changes_since(0, 10)
    assert [(c.seq, c.org, c.version, c.at) for c in merged] == [
        (1, "x", 1, 1003), (2, "x", 2, 1009), (3, "y", 1, 1001),
    ]  # fmt: skip
    assert merged[1].flag is None
    assert await log.snapshot() == replay(merged)


@contract
async def test_what_came_by_another_source_is_passed_over(log):
    await log.merge("a", [change(1, "x", 1), change(2, "x", 2)])
    await log.merge("b", [change(5, "x", 1), change(6, "x", 2), change(7, "x", 3)])
    await log.merge("b", [change(6, "x", 2), change(7, "x", 3)])  # again
    assert [c.version for c in await log.changes_since(0, 10)] == [1, 2, 3]
    assert await log.position("b") == 7
    await log.merge("b", [change(6, "x", 2)])
    assert await log.position("b") == 7


@contract
async def test_what_does_not_follow_is_refused_with_all_beside_it(log):
    with pytest.raises(CallError) as caught:
        await log.merge("a", [change(1, "x", 1), change(2, "y", 2)])
    assert caught.value.kind == INVALID
    assert await log.changes_since(0, 10) == []
    assert await log.position("a") == 0


async def bring(log, name, database, most):
    """What a merger does, at most `most` changes of it."""
    position = await log.position(name)
    await log.merge(name, [c for c in database._log if c.seq > position][:most])


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("write"), st.sampled_from(ORGS), st.just(0)),
            st.tuples(st.just("merge"), st.sampled_from("ab"), st.integers(1, 4)),
            st.tuples(st.just("move"), st.just(""), st.just(0)),
        ),
        max_size=60,
    )
)
def test_beside_what_was_written(turns):
    """Writes, pieces of merging, and steps of a hand-over, in any order."""

    async def main():
        databases = {"a": MemoryShards("a"), "b": MemoryShards("b")}
        await databases["a"].place([Shard(1, 0)])
        await databases["b"].place([])
        log, move = MemoryMergedLog(MemoryDatabase()), Move(Shard(1, 0), "a", "b")
        hand_over = HandOver(databases)
        given = {org: [] for org in ORGS}
        for n, (what, which, most) in enumerate(turns):
            if what == "merge":
                await bring(log, which, databases[which], most)
            elif what == "move" and move.next is not None:
                await hand_over.step(move)
                move.done += 1
            elif what == "write":
                for database in databases.values():
                    try:
                        written = await database.put_flag(which, "k", {"n": n}, n)
                    except CallError:
                        continue
                    given[which].append((written.version, n))
        for name in ("a", "b", "a", "b"):
            await bring(log, name, databases[name], 1000)
        merged = await log.changes_since(0, 1000)
        assert [c.seq for c in merged] == list(range(1, len(merged) + 1))
        for org in ORGS:
            assert [(c.version, c.at) for c in merged if c.org == org] == given[org]

    asyncio.run(main())


def test_a_source_that_is_away_holds_up_no_other():
    async def main():
        a, b, common = MemoryDatabase(), MemoryDatabase(), MemoryDatabase()
        log = MemoryMergedLog(common)
        sources = {"a": MemoryChangeLog(a), "b": MemoryChangeLog(b)}
        merger = Merger(node("merger", "merger", retry=0.01), environment(), sources, log)
        b.broken = TIMEOUT
        await merger.start()
        await sources["a"].put_flag("x", "k", ON, 1)
        await until(lambda: common.store.seq == 1, seen=lambda: merger)
        assert TIMEOUT in merger.errors["b"]
        b.broken = None
        await sources["b"].put_flag("y", "k", ON, 1)
        await until(lambda: common.store.seq == 2, seen=lambda: merger)
        await until(lambda: not merger.errors, seen=lambda: merger)
        common.broken = TIMEOUT
        await sources["a"].put_flag("x", "k", ON, 2)
        await until(lambda: merger.errors, seen=lambda: merger)
        common.broken = None
        await until(lambda: common.store.seq == 3, seen=lambda: merger)
        assert merger.positions == {"a": 2, "b": 1}
        await merger.stop()

    asyncio.run(main())
