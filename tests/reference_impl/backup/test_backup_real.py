"""Backup and restore of a real PostgreSQL, through real object stores: what was committed is there again."""

import asyncio
import contextlib
import itertools
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import asyncpg
import msgspec
import pytest

from reference_impl.alerts.role import AlertSink
from reference_impl.backup.restore import RestoreError
from reference_impl.backup.restorer import Restorer
from reference_impl.backup.role import BackupNode
from reference_impl.backup.wal_names import parse_lsn
from reference_impl.objectstore.role import Objects
from tests.reference_impl.support import environment, find_program, node, own_host, until

PATIENT = 30.0
_names = itertools.count(1)


@pytest.fixture
def programs(monkeypatch):
    """PostgreSQL's programs on PATH, all of one version."""
    server = find_program("postgres")
    if server is None or not Path(server).resolve().with_name("pg_basebackup").exists():
        pytest.skip("PostgreSQL's client programs are not installed")
    monkeypatch.setenv("PATH", f"{Path(server).resolve().parent}:{os.environ['PATH']}")


@pytest.fixture
def room():
    """Where user nobody can get to."""
    home = Path(tempfile.mkdtemp(prefix="squall-backup-"))
    home.chmod(0o755)
    yield home
    shutil.rmtree(home, ignore_errors=True)


class Platform:
    """Two stores, a backup node and one that restores; `server` is what is backed up."""

    def __init__(self, server, room, **settings):
        self.server, self.room = server, room
        self.stores = [self._store("store-us"), self._store("store-eu")]
        self.alerts = AlertSink(node("alerts", "alerts"), environment())
        self.settings = {
            "hourly": {"every": 3600, "keep": 7 * 86400, "stores": ["store-eu"]},
            "wal": {"every": 0.1, "retry": 0.1, "slot": f"backup_{os.getpid()}_{next(_names)}"},
            **settings,
        }

    def _store(self, name):
        return Objects(self.config(name, "objects"), environment())

    def config(self, name, role, host="127.0.0.1", links=None, **settings):
        made = node(name, role, host=host, links=links, **settings)
        return msgspec.structs.replace(made, state_dir=str(self.room / name))

    async def __aenter__(self):
        for role in (*self.stores, self.alerts):
            await role.start()
        links = [(s.config.name, "objects", "127.0.0.1", s.site.port) for s in self.stores]
        self.backup = BackupNode(
            self.config(
                "backup",
                "backup",
                links={
                    "db": [("db", "postgres", self.server.host, self.server.port)],
                    "store": links,
                    "alerts": [("alerts", "alerts", "127.0.0.1", self.alerts.site.port)],
                },
                **self.settings,
            ),
            environment(),
        )
        await self.backup.start()
        self.restorer = Restorer(
            self.config("cold", "restorer", host=own_host(), links={"store": links}), environment()
        )
        return self

    async def __aexit__(self, *exc):
        await self.restorer.stop()
        await self.backup.stop()
        for role in (*self.stores, self.alerts):
            await role.stop()
        slot = self.settings["wal"]["slot"]
        async with connected(self.server.host, self.server.port) as db:
            with contextlib.suppress(asyncpg.PostgresError):
                await db.execute(f"SELECT pg_drop_replication_slot('{slot}')", timeout=10)

    async def settled(self):
        await until(lambda: self.backup.snapshots.settled, PATIENT, lambda: self.backup)

    async def shipped(self, db):
        """Until everything that is committed now is in every store."""
        at = parse_lsn(await db.fetchval("SELECT pg_current_wal_flush_lsn()::text"))
        await until(lambda: self.backup.wal.shipped + 8 >= at, PATIENT, lambda: self.backup)

    def advance(self, seconds):
        self.backup.clock.advance(seconds)
        self.backup.snapshots.look()

    def objects(self, store, pattern):
        return sorted(self.stores[store].folder.path.glob(pattern))

    def archives(self):
        """The files of all base backups, in both stores."""
        return {path for store in (0, 1) for path in self.objects(store, "backups%2F*")}


@contextlib.asynccontextmanager
async def connected(host, port=5432, database="postgres"):
    connection = await asyncpg.connect(
        host=host, port=port, user="squall", database=database, timeout=10
    )
    try:
        yield connection
    finally:
        await connection.close(timeout=10)


@pytest.fixture
def on_platform(programs, postgres_server, room):
    def run(test, **settings):
        async def main():
            async with (
                connected(postgres_server.host, postgres_server.port) as db,
                Platform(postgres_server, room, **settings) as platform,
            ):
                with contextlib.suppress(asyncpg.DuplicateDatabaseError):
                    await db.execute("CREATE DATABASE squall", timeout=20)
                await db.execute("DROP TABLE IF EXISTS kept", timeout=10)
                await db.execute("CREATE TABLE kept (n int)", timeout=10)
                await platform.settled()
                await test(platform, db)

        asyncio.run(main())

    return run


async def insert(db, *numbers):
    for n in numbers:
        await db.execute("INSERT INTO kept VALUES ($1)", n)


async def kept(platform):
    async with connected(platform.restorer.config.listen.host) as db:
        return [row["n"] for row in await db.fetch("SELECT n FROM kept ORDER BY n")]


def flip(path):
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 16
    path.write_bytes(raw)


def test_what_was_committed_after_the_backup_is_restored_too(on_platform):
    async def test(platform, db):
        await insert(db, 1, 2)
        await db.execute("SELECT pg_switch_wal()")
        await insert(db, 3)
        await platform.shipped(db)
        done = await platform.restorer.restore()
        assert await kept(platform) == [1, 2, 3]
        assert done.point.passed == []
        assert done.point.piece
        assert not platform.alerts.alerts

    on_platform(test)


def test_a_flipped_bit_is_noticed_and_the_older_backup_used(on_platform):
    async def test(platform, db):
        await insert(db, 1)
        older = platform.archives()
        platform.advance(3600)
        await platform.settled()
        await insert(db, 2)
        await platform.shipped(db)
        newest = (
            platform.archives() - older
        )  # past the platform's midnight a daily copy in each store too
        for each in newest:
            flip(each)
        done = await platform.restorer.restore()
        assert await kept(platform) == [1, 2]
        assert len(done.point.passed) == len(newest) >= 1
        assert all("damaged" in each.reason for each in done.point.passed)
        assert done.point.backup.key.replace("/", "%2F") in {each.name for each in older}

    on_platform(test)


def test_one_location_is_enough(on_platform):
    async def test(platform, db):
        await insert(db, 1)
        await platform.shipped(db)
        await platform.stores[1].stop()
        done = await platform.restorer.restore()
        assert await kept(platform) == [1]
        assert done.point.store == "store-us"
        assert done.point.backup.kind == "daily"
        assert {each.store for each in done.point.passed} == {"store-eu"}

    on_platform(test)


def test_a_restore_up_to_a_time_goes_no_further(on_platform):
    async def test(platform, db):
        await insert(db, 1)
        at = await db.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8")
        await insert(db, 2)
        await platform.shipped(db)
        await platform.restorer.restore(until=round(at * 1e9))
        assert await kept(platform) == [1]

    on_platform(test)


def test_no_backup_is_an_error_that_says_why(on_platform):
    async def test(platform, db):
        for store in platform.stores:
            for path in store.folder.path.glob("backups*"):
                flip(path)
        with pytest.raises(RestoreError, match=r"store-eu catalogue/.*damaged"):
            await platform.restorer.restore()
        assert not platform.restorer.server.running

    on_platform(test)


def test_a_lost_connection_is_taken_up_again(on_platform):
    async def test(platform, db):
        await insert(db, 1)
        await platform.shipped(db)
        await db.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_replication")
        await insert(db, 2)
        await platform.shipped(db)
        await platform.restorer.restore()
        assert await kept(platform) == [1, 2]

    on_platform(test)


async def command(*words):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "reference_impl.backup", *map(str, words),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), PATIENT)
    return process.returncode, out.decode(), err.decode()


def test_the_command_makes_a_data_directory(on_platform):
    async def test(platform, db):
        await insert(db, 1)
        await platform.shipped(db)
        file, data = platform.room / "node.json", platform.room / "by-hand"
        file.write_bytes(msgspec.json.encode(platform.restorer.config))
        code, out, err = await command("restore", file, data)
        assert (code, err) == (0, "")
        assert json.loads(out)["store"] in ("store-us", "store-eu")
        assert (data / "recovery.signal").exists()
        assert (data / "PG_VERSION").exists()
        code, _, err = await command("restore", file, data)
        assert code == 1
        assert "is not free" in err
        code, _, err = await command("restore", file, platform.room / "x", "2026-01-01T00:00:00")
        assert code == 2
        assert "no time zone" in err
        assert (await command("store"))[0] == 2

    on_platform(test)
