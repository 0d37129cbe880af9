"""Programs as they really fail: missing, with a complaint, too slow, cut off."""

import asyncio
import json
import os

import pytest

from reference_impl.backup.programs import (
    PostgresPrograms,
    ProgramSettings,
    Taken,
    read_taken,
)
from reference_impl.backup.role import BackupNode
from reference_impl.config import ConfigError, Upstream
from reference_impl.programs import ProgramError
from tests.reference_impl.support import environment, node, until

SERVERS = [Upstream("db-1", "postgres", "127.1.2.3", 5432), Upstream("db-2", "x", "127.1.2.4", 99)]


@pytest.fixture
def script(tmp_path, monkeypatch):
    """Put a shell script of that name on PATH."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    def write(name, text):
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    return write


def fails(call, match):
    with pytest.raises(ProgramError, match=match):
        asyncio.run(call)


def test_what_it_said_last_is_told(script, tmp_path):
    script("pg_verifybackup", "echo first; echo 'checksum mismatch for file x' >&2; exit 3")
    fails(
        PostgresPrograms().verify(tmp_path),
        "pg_verifybackup failed with 3: first checksum mismatch for file x",
    )


def test_one_that_is_not_there_is_told(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    fails(
        PostgresPrograms().receive_wal(tmp_path, "s"),
        "pg_receivewal can't be run: No such file or directory",
    )


def test_one_that_takes_too_long_is_ended(script, tmp_path):
    pid = tmp_path / "pid"
    script("pg_verifybackup", f"echo $$ > {pid}; exec sleep 60")
    programs = PostgresPrograms(settings=ProgramSettings(call_timeout=0.5))
    fails(programs.verify(tmp_path), "pg_verifybackup took over 0.5 s")
    assert not os.path.exists(f"/proc/{pid.read_text().strip()}")


def test_a_cancelled_call_leaves_no_program_behind(script, tmp_path):
    pid = tmp_path / "pid"
    script("pg_receivewal", f"echo $$ > {pid}.new; mv {pid}.new {pid}; exec sleep 60")

    async def main():
        task = asyncio.create_task(PostgresPrograms().receive_wal(tmp_path, "s"))
        await until(pid.exists, seen=lambda: task)
        task.cancel()
        await asyncio.wait({task})

    asyncio.run(main())
    assert not os.path.exists(f"/proc/{pid.read_text().strip()}")


def test_receiving_that_ends_well_is_an_end_all_the_same(script, tmp_path):
    script("pg_receivewal", 'echo "$@" > "$0.args"')
    fails(PostgresPrograms(SERVERS).receive_wal(tmp_path / "wal", "kept"), "closed the connection")
    words = (tmp_path / "pg_receivewal.args").read_text()
    assert "host=127.1.2.3,127.1.2.4 port=5432,99 " in words
    assert "target_session_attrs=primary" in words
    assert "--slot=kept" in words


def test_a_base_backup_says_what_it_is(tmp_path):
    manifest = {"WAL-Ranges": [{"Timeline": 2, "Start-LSN": "1/C00028", "End-LSN": "1/C01000"}]}
    (tmp_path / "backup_manifest").write_text(json.dumps(manifest))
    (tmp_path / "backup_label").write_text(
        "START WAL LOCATION: 1/C00028 (file 000000020000000100000003)\nLABEL: x\n"
    )
    start = (1 << 32) + 0xC00028
    assert read_taken(tmp_path) == Taken(2, start, start + 0xFD8, "000000020000000100000003")
    (tmp_path / "backup_manifest").write_text("{}")
    with pytest.raises(ProgramError, match="does not say what it is"):
        read_taken(tmp_path)


def test_pack_and_unpack_are_each_others_opposite(tmp_path):
    (tmp_path / "from").mkdir(mode=0o700)
    (tmp_path / "from" / "sub").mkdir()
    (tmp_path / "from" / "sub" / "file").write_bytes(b"content")

    async def main():
        programs = PostgresPrograms()
        await programs.pack(tmp_path / "from", tmp_path / "a.tar.gz")
        await programs.unpack(tmp_path / "a.tar.gz", tmp_path / "to")

    asyncio.run(main())
    assert (tmp_path / "to" / "sub" / "file").read_bytes() == b"content"
    assert (tmp_path / "to").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("links", "settings", "says"),
    [
        ({}, {}, "needs a link with use 'store'"),
        (
            {"store": [("store-eu", "objects", "127.0.0.1", 1)]},
            {"daily": {"every": 1, "keep": 1, "stores": ["store-us"]}},
            "no link with use 'store' goes to 'store-us'",
        ),
        ({"store": [("s", "objects", "127.0.0.1", 1)]}, {"hourly": {"every": 0, "keep": 1}}, ">"),
    ],
)
def test_a_backup_node_that_could_not_work_is_refused(links, settings, says):
    with pytest.raises(ConfigError, match=says):
        BackupNode(node("backup", "backup", links=links, **settings), environment())
