"""Where the toxiproxy daemon comes from: an environment variable, PATH, the cache, or `go install` into the cache."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import MissingPartError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

VERSION = "2.12.0"
MODULE = f"github.com/Shopify/toxiproxy/v2/cmd/server@v{VERSION}"
VARIABLE = "SQUALL_TOXIPROXY"
PROGRAM = "toxiproxy-server"
BUILD_WITHIN = 300.0  # s, for `go install` on a slow machine

_HELP = (
    f"install toxiproxy {VERSION} so that '{PROGRAM}' is on PATH, or set {VARIABLE} to its path, "
    f"or install Go and squall builds it once (go install {MODULE})"
)


def cache_dir() -> Path:
    """``$XDG_CACHE_HOME/squall``, or ``~/.cache/squall``."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path("~/.cache").expanduser()) / "squall"


def find_toxiproxy(progress: Callable[[str], None] = lambda _line: None) -> Path:
    """The path of a toxiproxy daemon, built first if need be; `progress` is told before what takes long.

    Raises `MissingPartError` with the ways to get it.
    """
    named = os.environ.get(VARIABLE)
    if named:
        path = Path(named)
        if not _runnable(path):
            raise MissingPartError(f"{VARIABLE}={named} is not a program that can be run; {_HELP}")
        return path.resolve()
    on_path = shutil.which(PROGRAM)
    if on_path:
        return Path(on_path)
    cached = cache_dir() / f"toxiproxy-{VERSION}" / PROGRAM
    return cached if _runnable(cached) else _build(cached, progress)


def _runnable(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


def _build(target: Path, progress: Callable[[str], None]) -> Path:
    """Build beside `target` and move it there in one step, so that nobody ever runs a half-written program."""
    go = shutil.which("go")
    if go is None:
        raise MissingPartError(f"the toxiproxy daemon is missing: {_HELP}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _lock(target.with_suffix(".lock")):
            if not _runnable(target):  # another run may have built it while this one waited
                progress(f"building toxiproxy {VERSION} (once; it is kept in {target.parent})")
                _go_install(go, target)
    except OSError as error:
        raise MissingPartError(
            f"can't keep toxiproxy in {target.parent}: {error}; {_HELP}"
        ) from error
    return target


def _go_install(go: str, target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="build-") as room:
        try:
            done = subprocess.run(  # noqa: S603 - the program is the `go` of the user's own PATH
                [go, "install", MODULE],
                # Without cgo it is static: it runs in any container, whatever C library is there.
                env=os.environ | {"GOBIN": room, "CGO_ENABLED": "0"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=BUILD_WITHIN,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise MissingPartError(f"'go install' took over {BUILD_WITHIN:g} s; {_HELP}") from error
        built = Path(room) / "server"
        if done.returncode != 0 or not _runnable(built):
            said = (done.stderr.strip().splitlines() or ["it built nothing"])[-1]
            raise MissingPartError(f"'go install {MODULE}' failed: {said}; {_HELP}")
        built.replace(target)


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold `path` alone among all processes; waits as long as a build may take, then raises `MissingPartError`."""
    deadline = time.monotonic() + BUILD_WITHIN
    with path.open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise MissingPartError(
                        f"another run has held {path} for {BUILD_WITHIN:g} s; {_HELP}"
                    ) from None
                time.sleep(0.1)  # flock has no deadline of its own: ask again until ours
        yield
