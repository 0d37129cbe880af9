"""What a run was made with: versions and the machine, for the history's header and the report."""

from __future__ import annotations

import functools
import os
import platform
import re
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from harness.errors import MissingPartError
from harness.network.obtain import find_toxiproxy
from harness.runtime.servers import find_postgres, find_redis

_LIMIT_S = 10.0
_PACKAGES = ("uvloop", "httptools", "msgspec", "aiohttp", "asyncpg", "redis", "hypothesis")


@functools.cache
def describe(runtime: str) -> dict[str, str]:
    """Name to version or figure. A part that can't be asked is left out; nothing here fails a run."""
    facts = {
        "squall": _package("squall"),
        "runtime": runtime,
        "python": platform.python_version(),
        "kernel": f"{platform.system()} {platform.release()}",
        "machine": f"{os.cpu_count()} cores, {_memory()}",
        "toxiproxy": _said(lambda: [str(find_toxiproxy()), "--version"]),
        "postgresql": _said(lambda: [str(find_postgres() / "postgres"), "--version"]),
        "redis": _said(lambda: [str(find_redis()), "--version"]),
        "commit": _commit(),
    }
    facts |= {name: _package(name) for name in _PACKAGES}
    return {name: value for name, value in facts.items() if value}


def _package(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _memory() -> str:
    return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"


def _said(command: object) -> str:
    """The version number in what a program prints for --version."""
    try:
        argv = command()  # type: ignore[operator]
        done = subprocess.run(  # noqa: S603 - programs that squall itself found and runs
            argv, capture_output=True, text=True, timeout=_LIMIT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired, MissingPartError):
        return ""
    found = re.search(r"\d+\.\d+(\.\d+)?", done.stdout + done.stderr)
    return found.group() if found else ""


def _commit() -> str:
    git = shutil.which("git")
    if git is None:
        return ""
    here = Path(__file__).parent
    argv = [git, "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(  # noqa: S603 - git, found on PATH
            argv, capture_output=True, text=True, timeout=_LIMIT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
