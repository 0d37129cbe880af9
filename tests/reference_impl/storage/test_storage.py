"""The contract of the change log, for the one in memory and the one in PostgreSQL."""

import asyncio
import itertools

import asyncpg
import pytest

from reference_impl.config import Upstream
from reference_impl.propagation.store import replay
from reference_impl.propagation.types import Change
from reference_impl.resilience.errors import INVALID, SERVICE_UNAVAILABLE, CallError
from reference_impl.storage.memory import MemoryChangeLog, MemoryDatabase
from reference_impl.storage.postgres import DatabaseSettings, PostgresChangeLog
from tests.reference_impl.support import own_host, until

ON = {"state": "ENABLED", "variants": {"on": True, "ü": [None, 1.5]}, "defaultVariant": "on"}
PATIENT = {"connect_timeout": 10.0, "call_timeout": 10.0, "retry": 0.02}
_names = itertools.count(1)


def upstream(server):
    return Upstream("db", "postgres", server.host, server.port)


def new_database(server):
    name = f"contract_{next(_names)}"

    async def create():
        connection = await asyncpg.connect(
            host=server.host, port=server.port, user="squall", database="postgres", timeout=10
        )
        await connection.execute(f"CREATE DATABASE {name}", timeout=10)
        await connection.close(timeout=10)

    asyncio.run(create())
    return name


@pytest.fixture
def database(postgres_server):
    return new_database(postgres_server)


@pytest.fixture(params=["memory", "postgres"])
def make(request):
    """Make a log: `make(writer=...)`; all of one test share their data."""
    if request.param == "memory":
        shared = MemoryDatabase()
        return lambda writer: MemoryChangeLog(shared)
    server = request.getfixturevalue("postgres_server")
    name = request.getfixturevalue("database")
    settings = DatabaseSettings(database=name, **PATIENT)
    return lambda writer: PostgresChangeLog([upstream(server)], settings, writer=writer)


def contract(test):
    """Run an async test with a writer, and with a reader or a second writer when it wants one."""
    wants = test.__code__.co_varnames[: test.__code__.co_argcount]

    def run(make):
        async def main():
            logs = [make(writer=name != "reader") for name in wants]
            for log in logs:
                await log.start()
            try:
                await test(*logs)
            finally:
                for log in logs:
                    await log.close()

        asyncio.run(main())

    run.__name__ = test.__name__
    return run


@contract
async def test_a_new_one_is_empty(log):
    await log.put_flag("acme", "k", ON, 1)
    await log.put_flag("acme", "k", None, 2)
    assert await log.get("acme", "k") is None
    assert await log.get("other", "k") is None
    assert await log.list_org("other") is None
    assert (await log.list_org("acme")).flags == {}


@contract
async def test_a_write_is_there_when_it_is_acknowledged(log, reader):
    change = await log.put_flag("acme", "k", ON, 1764000000000000000)
    assert change == Change(1, "acme", 1, "k", ON, 1764000000000000000)
    assert await reader.changes_since(0, 10) == [change]
    state, version = await reader.get("acme", "k")
    assert (state.seq, state.flag, version) == (1, ON, 1)


@contract
async def test_positions_and_versions_count(log):
    written = [
        await log.put_flag(org, key, flag, 0)
        for org, key, flag in [("a", "x", ON), ("b", "x", ON), ("a", "x", None), ("a", "y", ON)]
    ]
    assert [(change.seq, change.version) for change in written] == [(1, 1), (2, 1), (3, 2), (4, 3)]
    assert await log.changes_since(0, 100) == written
    assert await log.changes_since(1, 2) == written[1:3]
    assert await log.changes_since(4, 2) == []
    assert await log.snapshot() == replay(written)
    assert await log.list_org("a") == replay(written).orgs["a"]


@contract
async def test_many_writers_leave_no_gap_and_no_order_undone(log, other, reader):
    """A reader that polls while eight write sees every change once, in order, and never one before an earlier one."""

    async def write(through, worker):
        return [await through.put_flag(f"o{worker % 3}", f"k{n}", ON, 0) for n in range(12)]

    await log.put_flag("o0", "first", ON, 0)
    writers = asyncio.gather(*(write((log, other)[w % 2], w) for w in range(8)))
    seen = []
    while not writers.done() or await reader.changes_since(len(seen), 1):
        seen += await reader.changes_since(len(seen), 7)
        assert [change.seq for change in seen] == list(range(1, len(seen) + 1))
        await asyncio.sleep(0)
    acknowledged = [change for one in await writers for change in one]
    assert sorted(acknowledged, key=lambda change: change.seq) == seen[1:]
    for org in ("o0", "o1", "o2"):
        versions = [change.version for change in seen if change.org == org]
        assert versions == list(range(1, len(versions) + 1))
    assert await reader.snapshot() == replay(seen)


@contract
async def test_news_end_the_wait(log, reader):
    await log.put_flag("a", "k", ON, 0)
    waiting = asyncio.create_task(reader.news(60.0))
    for turn in range(200):
        await log.put_flag("a", "k", {**ON, "turn": turn}, 0)
        await asyncio.wait({waiting}, timeout=0.05)
        if waiting.done():
            return
    raise AssertionError(f"200 writes, and no news: {reader!r}")


@contract
async def test_no_news_is_no_error(log):
    await log.news(0.01)


def run_postgres(servers, test, **settings):
    async def main():
        log = PostgresChangeLog(servers, DatabaseSettings(**{**PATIENT, **settings}), writer=True)
        try:
            await test(log)
        finally:
            await log.close()

    asyncio.run(main())


def test_the_next_server_is_used_when_one_refuses(postgres_server, database):
    dead = Upstream("gone", "postgres", own_host(), 5432)

    async def test(log):
        assert (await log.put_flag("a", "k", ON, 0)).seq == 1

    run_postgres([dead, upstream(postgres_server)], test, database=database)


def test_no_server_means_that_nothing_was_written():
    async def test(log):
        with pytest.raises(CallError) as caught:
            await log.put_flag("a", "k", ON, 0)
        assert caught.value.kind == SERVICE_UNAVAILABLE

    run_postgres([Upstream("gone", "postgres", own_host(), 5432)], test)


def test_it_connects_again_after_its_connections_are_lost(postgres_server, database):
    async def test(log):
        await log.put_flag("a", "k", ON, 0)
        async with log._connection() as connection:
            pid = connection.get_server_pid()
            other = await asyncpg.connect(
                host=postgres_server.host, port=5432, user="squall", database=database, timeout=10
            )
            await other.execute("SELECT pg_terminate_backend($1, 5000)", pid, timeout=10)
            await other.close(timeout=10)
            await until(connection.is_closed, seen=lambda: log)
        assert (await log.put_flag("a", "k", ON, 0)).seq == 2

    run_postgres([upstream(postgres_server)], test, database=database)


def test_a_server_that_takes_no_writes_is_passed_over(postgres_server, database):
    """A read-only session stands for a server that was made one after we connected."""

    async def test(log):
        await log.put_flag("a", "k", ON, 0)
        async with log._connection() as connection:
            await connection.execute("SET default_transaction_read_only = on")
        with pytest.raises(CallError) as caught:
            await log.put_flag("a", "k", ON, 0)
        assert caught.value.kind == SERVICE_UNAVAILABLE
        assert (await log.put_flag("a", "k", ON, 0)).seq == 2

    run_postgres([upstream(postgres_server)], test, database=database)


def test_what_the_database_cannot_hold_is_invalid(postgres_server, database):
    async def test(log):
        with pytest.raises(CallError) as caught:
            await log.put_flag("a\0", "k", ON, 0)
        assert caught.value.kind == INVALID
        assert (await log.put_flag("a", "k", ON, 0)).seq == 1

    run_postgres([upstream(postgres_server)], test, database=database)


def test_a_lock_that_is_not_freed_ends_in_time(postgres_server, database):
    """The write waits for another's lock beyond its timeout: its fate is said to be unknown, and it was undone."""

    async def test(log):
        await log.put_flag("a", "k", ON, 0)
        holder = await asyncpg.connect(
            host=postgres_server.host, port=5432, user="squall", database=database, timeout=10
        )
        transaction = holder.transaction()
        await transaction.start()
        await holder.execute("UPDATE log_head SET seq = seq", timeout=10)
        with pytest.raises(CallError) as caught:
            await log.put_flag("a", "k", ON, 0)
        assert caught.value.kind == "TIMEOUT"
        await transaction.rollback()
        await holder.close(timeout=10)

    run_postgres([upstream(postgres_server)], test, database=database, call_timeout=0.5)
