"""The contract of a database that has some of the shards, for the one in memory and the one in PostgreSQL."""

import asyncio
import itertools

import asyncpg
import pytest

from reference_impl.config import Upstream
from reference_impl.propagation.types import FlagState
from reference_impl.resilience.errors import INVALID, CallError
from reference_impl.shards.base import NotOwner
from reference_impl.shards.memory import MemoryShards
from reference_impl.shards.postgres import PostgresShards
from reference_impl.shards.shard import Owned, Shard, org_hash, shards
from reference_impl.storage.postgres import DatabaseSettings

ON = {"state": "ENABLED", "variants": {"on": True, "ü": [None, 1.5]}, "defaultVariant": "on"}
PATIENT = {"connect_timeout": 10.0, "call_timeout": 10.0, "retry": 0.02}
ALL = Shard(1, 0)
# On shard 0 and 1 of 2; the names after the first two are on 0 as well, but on 2 of 4.
EVEN, ODD, FAR = (
    next(f"org-{n}" for n in range(100) if org_hash(f"org-{n}") % 4 == rest) for rest in (0, 1, 2)
)
_names = itertools.count(1)


@pytest.fixture(params=["memory", "postgres"])
def make(request):
    """Make a server of its own: `make(name)`."""
    if request.param == "memory":
        return MemoryShards
    server = request.getfixturevalue("postgres_server")

    def of_postgres(name):
        database = f"shards_{next(_names)}"

        async def create():
            connection = await asyncpg.connect(
                host=server.host, port=server.port, user="squall", database="postgres", timeout=10
            )
            await connection.execute(f"CREATE DATABASE {database}", timeout=10)
            await connection.close(timeout=10)

        asyncio.run(create())
        link = Upstream(name, "postgres", server.host, server.port)
        return PostgresShards(link, DatabaseSettings(database=database, **PATIENT), "test")

    return of_postgres


def contract(test):
    """Run an async test with as many servers as it has arguments."""
    wants = test.__code__.co_varnames[: test.__code__.co_argcount]

    def run(make):
        databases = [make(name) for name in wants]

        async def main():
            for one in databases:
                await one.start()
            try:
                await test(*databases)
            finally:
                for one in databases:
                    await one.close()

        asyncio.run(main())

    run.__name__ = test.__name__
    return run


@contract
async def test_it_has_the_shards_that_it_was_given_first(db):
    assert await db.owned() == []
    await db.place(shards(2))
    await db.place([Shard(4, 3)])  # once only
    assert sorted(await db.owned(), key=lambda one: one.shard) == [Owned(s) for s in shards(2)]


@contract
async def test_what_is_not_here_is_neither_taken_nor_shown(db):
    await db.place([Shard(2, 0)])
    for call in (db.put_flag(ODD, "k", ON, 1), db.get(ODD, "k"), db.list_org(ODD)):
        with pytest.raises(NotOwner):
            await call
    assert await db.organisations() == []


@contract
async def test_what_is_here_is_stored_as_ever(db):
    await db.place([Shard(2, 0)])
    assert await db.get(EVEN, "k") is None
    assert await db.list_org(EVEN) is None
    change = await db.put_flag(EVEN, "k", ON, 7)
    assert (change.seq, change.org, change.version, change.flag) == (1, EVEN, 1, ON)
    assert await db.get(EVEN, "k") == (FlagState(1, ON), 1)
    assert (await db.list_org(EVEN)).flags == {"k": FlagState(1, ON)}
    await db.put_flag(EVEN, "k", None, 8)
    assert await db.get(EVEN, "k") is None
    state = await db.list_org(EVEN)
    assert (state.version, state.flags) == (2, {})
    assert await db.organisations() == [EVEN]


@contract
async def test_halves_have_what_the_whole_had(db):
    await db.place(shards(2))
    await db.put_flag(EVEN, "k", ON, 1)
    for _ in range(2):  # safe to repeat
        await db.split(Shard(2, 0))
    assert {one.shard for one in await db.owned()} == {Shard(4, 0), Shard(4, 2), Shard(2, 1)}
    assert await db.versions(Shard(4, 0)) == {EVEN: 1}
    assert await db.versions(Shard(4, 2)) == {}
    assert (await db.put_flag(EVEN, "k", ON, 2)).version == 2


@contract
async def test_a_closed_one_takes_nothing_and_the_others_do(db):
    await db.place(shards(4))
    for org in (EVEN, FAR):
        await db.put_flag(org, "k", ON, 1)
    for _ in range(2):
        await db.close_shard(Shard(4, 2))
    with pytest.raises(NotOwner):
        await db.put_flag(FAR, "k", ON, 2)
    with pytest.raises(NotOwner):
        await db.get(FAR, "k")
    assert (await db.put_flag(EVEN, "k", ON, 2)).version == 2
    assert await db.versions(Shard(4, 2)) == {FAR: 1}


@contract
async def test_changes_are_replayed_elsewhere_in_order_and_once(a, b):
    await a.place([ALL])
    await b.place([])
    for n in range(5):
        await a.put_flag(FAR, f"k{n % 2}", {**ON, "n": n}, n)
        await a.put_flag(ODD, "k", ON, n)
    await a.put_flag(FAR, "k1", None, 5)
    half = Shard(4, 2)
    first = await a.changes_after(half, {}, 4)
    assert [c.version for c in first] == [1, 2, 3, 4]
    await b.replay(first)
    await b.replay(first)  # what is here already is passed over
    rest = await a.changes_after(half, await b.versions(half), 100)
    assert [c.version for c in rest] == [5, 6]
    await b.replay(rest)
    assert await b.versions(half) == {FAR: 6} == await a.versions(half)
    await b.open_shard(half, 2)
    state = await b.list_org(FAR)
    assert {key: each.flag["n"] for key, each in state.flags.items()} == {"k0": 4}
    here = await b.put_flag(FAR, "k0", ON, 9)
    assert here.version == 7
    assert here.seq > rest[-1].seq  # no reader sees the organisation's positions go back


@contract
async def test_a_change_that_does_not_follow_is_refused_with_all_beside_it(a, b):
    await a.place([ALL])
    await b.place([])
    written = [await a.put_flag(org, "k", ON, 0) for org in (EVEN, FAR, FAR, FAR)]
    with pytest.raises(CallError) as caught:
        await b.replay([written[0], written[1], written[3]])
    assert caught.value.kind == INVALID
    assert await b.organisations() == []


@contract
async def test_a_shard_is_dropped_only_when_it_is_closed(db):
    await db.place(shards(4))
    for org in (EVEN, FAR):
        await db.put_flag(org, "k", ON, 1)
    await db.drop_shard(Shard(4, 2))
    assert await db.organisations() == sorted([EVEN, FAR])
    await db.close_shard(Shard(4, 2))
    for _ in range(2):
        await db.drop_shard(Shard(4, 2))
    assert await db.organisations() == [EVEN]
    assert Shard(4, 2) not in {one.shard for one in await db.owned()}
    assert await db.get(EVEN, "k") == (FlagState(1, ON), 1)


@contract
async def test_opening_again_changes_nothing(db):
    await db.place([])
    await db.open_shard(ALL, 2)
    await db.open_shard(ALL, 9)
    assert await db.owned() == [Owned(ALL, 2)]
    await db.split(ALL)
    await db.close_shard(Shard(2, 1))
    await db.drop_shard(Shard(2, 1))  # it has gone on to another
    await db.open_shard(ALL, 2)
    assert await db.owned() == [Owned(Shard(2, 0), 2)]


@contract
async def test_a_write_is_before_the_closing_or_not_done(db):
    """Closing while eight write: what was acknowledged is there, and nothing else."""
    await db.place([ALL])
    await db.put_flag(EVEN, "k", ON, 0)
    acknowledged = []

    async def write(worker):
        while True:
            try:
                acknowledged.append((await db.put_flag(EVEN, f"k{worker}", ON, 0)).version)
            except NotOwner:
                return
            await asyncio.sleep(0)

    writers = asyncio.gather(*(write(worker) for worker in range(8)))
    while len(acknowledged) < 40:
        await asyncio.sleep(0)
    await db.close_shard(ALL)
    closed_at = (await db.versions(ALL))[EVEN]
    await writers
    assert (await db.versions(ALL))[EVEN] == closed_at
    assert sorted(acknowledged) == list(range(2, closed_at + 1))


def test_readers_of_the_log_see_that_something_has_left(make):
    """A gap, and a snapshot without it: what a stream server understands."""
    db = make("db")
    if isinstance(db, MemoryShards):
        pytest.skip("nobody streams it")

    async def main():
        try:
            await db.place(shards(4))
            for org in (EVEN, FAR):
                last = await db.put_flag(org, "k", ON, 1)
            await db.close_shard(Shard(4, 2))
            await db.drop_shard(Shard(4, 2))
            assert set((await db.snapshot()).orgs) == {EVEN}
            after = await db.put_flag(EVEN, "k", ON, 2)
            assert after.seq == last.seq + 2
            assert await db.changes_since(last.seq, 10) == [after]
        finally:
            await db.close()

    asyncio.run(main())


def test_python_and_the_database_have_one_hash(make):
    db = make("db")
    if isinstance(db, MemoryShards):
        pytest.skip("it has Python's")
    orgs = [*(f"org-{n}" for n in range(200)), "ü", "a/b", "日本", " ", "x" * 256]

    async def main():
        async def ask(connection):
            return [await connection.fetchval("SELECT org_hash($1)", org) for org in orgs]

        try:
            return await db._call(ask, 10)
        finally:
            await db.close()

    assert asyncio.run(main()) == [org_hash(org) for org in orgs]
