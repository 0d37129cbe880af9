"""The stream server on a real PostgreSQL: what happens to the log is what its store becomes."""

import asyncio
import contextlib
import itertools

import asyncpg
import pytest

from reference_impl.config import Upstream
from reference_impl.propagation.types import Change, Snapshot
from reference_impl.storage.postgres import DatabaseSettings, PostgresChangeLog
from reference_impl.stream.role import StreamServer
from tests.reference_impl.support import environment, node, until

ON = {"state": "ENABLED"}
_names = itertools.count(1)


@pytest.fixture
def database(postgres_server):
    name = f"stream_{next(_names)}"
    asyncio.run(execute(postgres_server, "postgres", f"CREATE DATABASE {name}"))
    return name


async def execute(server, database, statement):
    connection = await asyncpg.connect(
        host=server.host, port=server.port, user="squall", database=database, timeout=10
    )
    await connection.execute(statement, timeout=10)
    await connection.close(timeout=10)


@contextlib.asynccontextmanager
async def serving(server, database):
    """A stream server that follows the log, and a writer; `heard` is what its store took."""
    link = ("db", "postgres", server.host, server.port)
    settings = {"database": database, "connect_timeout": 10.0, "call_timeout": 10.0, "retry": 0.02}
    log = PostgresChangeLog([Upstream(*link)], DatabaseSettings(**settings), writer=True)
    await log.start()
    config = node("stream-1", "stream", links={"db": [link]}, database=settings, retry=0.02)
    role = StreamServer(config, environment())
    heard = []
    role.store.listen(heard.append)
    await role.start()
    try:
        yield role, log, heard
    finally:
        await role.stop()
        await log.close()


def test_every_write_arrives_once(postgres_server, database):
    async def main():
        async with serving(postgres_server, database) as (role, log, heard):
            for n in range(30):
                await log.put_flag("acme", f"k{n}", ON, 0)
            await until(lambda: role.store.seq == 30, seen=lambda: role)
            first, *changes = heard
            assert isinstance(first, Snapshot)
            assert [change.seq for change in changes] == list(range(first.seq + 1, 31))
            assert role.store.snapshot() == await log.snapshot()

    asyncio.run(main())


def test_a_jump_of_the_log_is_a_snapshot_and_not_a_gap(postgres_server, database):
    """After a failover that may have lost the last writes, the new primary goes on at a higher position."""

    async def main():
        async with serving(postgres_server, database) as (role, log, heard):
            await log.put_flag("acme", "a", ON, 0)
            await until(lambda: role.store.seq == 1, seen=lambda: role)
            await execute(postgres_server, database, "UPDATE log_head SET seq = 1000")
            await log.put_flag("acme", "b", ON, 0)
            await until(lambda: role.store.seq == 1001, seen=lambda: role)
            assert heard[-1] == await log.snapshot()
            await log.put_flag("acme", "c", ON, 0)
            await until(lambda: role.store.seq == 1002, seen=lambda: role)
            assert isinstance(heard[-1], Change)

    asyncio.run(main())


def test_it_hears_of_commits_and_does_not_only_poll(postgres_server, database):
    async def main():
        async with serving(postgres_server, database) as (role, log, _):
            await log.put_flag("acme", "a", ON, 0)
            await until(lambda: role.log._listening, seen=lambda: role.log)
            await execute(
                postgres_server,
                database,
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE application_name = 'stream-1'",
            )
            await log.put_flag("acme", "b", ON, 0)
            await until(lambda: role.store.seq == 2, seen=lambda: role)
            await until(lambda: role.log._listening, seen=lambda: role.log)

    asyncio.run(main())
