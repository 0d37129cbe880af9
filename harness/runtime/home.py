"""Where squall keeps what lives as long as processes do: one directory per user, one room in it per warden.

``$SQUALL_DIR``; by default ``/dev/shm/squall-<uid>`` where that is at least 2 GB large, else ``/tmp/squall-<uid>``:

    lock               held while rooms are made and swept
    wardens/<id>/      a room: `lock` (held by its warden as long as it lives), `sock`, `log`, `pids.jsonl`, clusters' state
    cache/             PostgreSQL's data directory as initdb makes it, by version
"""

from __future__ import annotations

import fcntl
import os
import stat
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from harness.errors import SquallError

if TYPE_CHECKING:
    from collections.abc import Iterator

LOCK_WITHIN = 30.0  # s; a sweep, the longest holder, takes well under one
MEMORY_AT_LEAST = 2 * 10**9  # bytes
MAX_SOCKET_PATH = 100  # the kernel's limit for a Unix socket's path is 107 bytes


def default_base() -> Path:
    """In memory where there is room for it. A killed process loses nothing by that, only a power cut would show; and
    what is measured is the platform, not what else this machine's disk has to do.
    """
    memory = Path("/dev/shm")  # noqa: S108 - ownership is checked in squall_dir
    try:
        found = os.statvfs(memory)
    except OSError:
        return Path("/tmp")  # noqa: S108 - as above
    # Its size, not what is free: every process of this user must come to the same answer.
    return memory if found.f_blocks * found.f_frsize >= MEMORY_AT_LEAST else Path("/tmp")  # noqa: S108


def squall_dir() -> Path:
    """The user's directory, made if need be. Raises `SquallError` when it can't be used."""
    path = Path(os.environ.get("SQUALL_DIR") or default_base() / f"squall-{os.getuid()}")
    try:
        # Others may pass through (servers of root run as nobody), but not look around.
        path.mkdir(mode=0o711, parents=True, exist_ok=True)
        found = path.lstat()
    except OSError as error:
        raise SquallError(f"{path} can't be used: {error.strerror}; set SQUALL_DIR") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise SquallError(f"{path} is not a directory of yours; set SQUALL_DIR to another")
    if len(str(path)) > MAX_SOCKET_PATH - 40:
        raise SquallError(
            f"{path} is too long for the sockets in it; set SQUALL_DIR to a shorter one"
        )
    return path


def rooms_dir() -> Path:
    path = squall_dir() / "wardens"
    path.mkdir(mode=0o711, exist_ok=True)
    return path


@contextmanager
def locked(path: Path, within: float = LOCK_WITHIN) -> Iterator[None]:
    """Hold the lock file `path` alone among all processes. Raises `SquallError` after `within` s."""
    deadline = time.monotonic() + within
    with path.open("a") as file:
        while not _try_lock(file.fileno()):
            if time.monotonic() > deadline:
                raise SquallError(f"{path} has been locked by another squall for {within:g} s")
            time.sleep(0.02)  # flock has no deadline of its own: ask again until ours
        yield


def home_lock() -> Path:
    return squall_dir() / "lock"


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Room:
    """A warden's directory. `claim_lock` is called by the warden alone; the lock ends with its process."""

    path: Path

    @property
    def sock(self) -> Path:
        return self.path / "sock"

    @property
    def log(self) -> Path:
        return self.path / "log"

    @property
    def pids(self) -> Path:
        return self.path / "pids.jsonl"

    @property
    def plan(self) -> Path:
        """The plan of a cluster that outlives its maker."""
        return self.path / "plan.json"

    def claim_lock(self) -> int | None:
        """The descriptor that holds the room's lock; None when another process holds it."""
        fd = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if _try_lock(fd):
            return fd
        os.close(fd)
        return None

    def abandoned(self) -> bool:
        """True when no living warden holds it."""
        try:
            fd = self.claim_lock()
        except FileNotFoundError:
            return False  # removed while we looked
        if fd is None:
            return False
        os.close(fd)
        return True


class PidRecord(msgspec.Struct, frozen=True):
    """A line of `pids.jsonl`: a process that belongs to the room. For `doctor`, when the warden itself was killed."""

    pid: int
    start: int
    node: str
    boot: str
