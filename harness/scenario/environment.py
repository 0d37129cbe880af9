"""What a run was made with: versions and the machine, for the history's header and the report."""

from __future__ import annotations

import functools
import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from harness.runtime.base import Parts

_LIMIT_S = 10.0
_PACKAGES = ("uvloop", "httptools", "msgspec", "aiohttp", "asyncpg", "redis", "hypothesis")


def describe(runtime: str, parts: Parts) -> dict[str, str]:
    """Name to version or figure. A part that can't be asked is left out; nothing here fails a run."""
    return {"runtime": runtime, **parts.facts, **_surroundings()}


@functools.cache
def _surroundings() -> dict[str, str]:
    """What does not depend on the runtime."""
    facts = {
        "squall": _package("squall"),
        "python": platform.python_version(),
        "kernel": f"{platform.system()} {platform.release()}",
        "machine": f"{os.cpu_count()} cores, {_memory()}",
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
