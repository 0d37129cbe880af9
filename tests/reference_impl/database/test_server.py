"""A real PostgreSQL through a whole life: made, cloned, promoted, left behind, rewound, following again."""

import asyncio
import os
import tempfile
from pathlib import Path

import asyncpg
import pytest

from reference_impl.config import Upstream
from reference_impl.database.server import PostgresServer
from reference_impl.programs import ProgramError, run
from tests.reference_impl.support import find_program, own_host

SLOW = 30.0  # s; a second on an idle machine


@pytest.fixture
def home(monkeypatch):
    """A place that PostgreSQL's user can reach, and its programs on PATH."""
    rewind = find_program("pg_rewind")
    if rewind is None:
        pytest.skip("PostgreSQL is not installed")
    monkeypatch.setenv("PATH", f"{Path(rewind).parent}:{os.environ['PATH']}")
    with tempfile.TemporaryDirectory(prefix="squall-db-") as folder:
        path = Path(folder)
        path.chmod(0o755)
        yield path


def server(home, name, **settings):
    (home / name).mkdir()
    return PostgresServer(name, home / name, own_host(), 5432, {"fsync": False, **settings})


def upstream(of):
    return Upstream(of.name, "database", of.host, of.port)


async def sql(of, statement):
    connection = await asyncpg.connect(
        host=of.host, port=of.port, user="squall", database="squall", timeout=SLOW
    )
    try:
        return await connection.fetchval(statement, timeout=SLOW)
    finally:
        await connection.close(timeout=SLOW)


async def answers(of):
    try:
        return await sql(of, "SELECT 1")
    except (OSError, asyncpg.PostgresError):
        return None


async def until(look, wanted):
    deadline = asyncio.get_running_loop().time() + SLOW
    while not wanted(seen := await look()):
        assert asyncio.get_running_loop().time() < deadline, seen
        await asyncio.sleep(0.05)


async def life(home):
    one, two = server(home, "db-1"), server(home, "db-2")
    try:
        await one.make()
        one.configure(None, ("db-2",))
        await one.start()
        assert not (await one.look()).recovery
        await two.clone(upstream(one))
        two.configure(upstream(one), ())
        two.be_standby(standby=True)
        await two.start()
        await until(one.look, lambda look: look.replicas == {"db-2": "sync"})
        await sql(one, "CREATE TABLE t AS SELECT 1 AS x")
        await until(two.look, lambda look: look.streaming and look.recovery)
        assert await sql(two, "SELECT x FROM t") == 1

        await one.stop(hard=True)
        assert not one.running
        two.configure(None, ())
        await two.promote()
        look = await two.look()
        assert (look.recovery, look.timeline) == (False, 2)
        await sql(two, "UPDATE t SET x = 2")

        one.configure(None, ())
        await one.start()  # as its own primary: it goes its own way
        await sql(one, "UPDATE t SET x = 3")
        await one.stop(hard=True)
        await one.rewind(upstream(two))
        one.configure(upstream(two), ())
        one.be_standby(standby=True)
        assert one.is_standby
        await one.start()
        await until(one.look, lambda look: look.streaming and look.timeline == 2)
        assert await sql(one, "SELECT x FROM t") == 2
    finally:
        await one.stop(hard=True)
        await two.stop(hard=True)


def test_a_whole_life(home):
    asyncio.run(life(home))


def test_what_can_not_be_cloned_leaves_nothing(home):
    async def act():
        source, clone = server(home, "db-1", max_wal_senders=0), server(home, "db-2")
        await source.make()
        await source.start()
        try:
            await until(lambda: answers(source), bool)
            with pytest.raises(ProgramError, match="pg_basebackup failed"):
                await clone.clone(upstream(source))
        finally:
            await source.stop(hard=True)
        assert not clone.has_data

    asyncio.run(act())


def test_a_program_that_takes_too_long_is_ended(tmp_path):
    tmp_path.chmod(0o755)

    async def act():
        with pytest.raises(ProgramError, match="sleep took over"):
            await run(["sleep", "60"], 0.2)

    asyncio.run(act())
    with pytest.raises(ProgramError, match="can't be run"):
        asyncio.run(run(["no-such-program"], 1))


def test_data_are_kept_where_the_source_of_a_clone_does_not_answer(home):
    """A standby that gave up on what it has may be the last that has anything."""

    async def course():
        one = server(home, "db-1")
        await one.make()
        with pytest.raises(ProgramError, match="db-0 .* no checkpoint"):
            await one.clone(Upstream("db-0", "database", own_host(), 5432))
        assert one.has_data

    asyncio.run(course())
