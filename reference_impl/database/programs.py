"""PostgreSQL's own programs as child processes: they end with us, run as a user that PostgreSQL accepts, and never for ever."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import functools
import os
import pwd
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)  # loaded before any fork


class ProgramError(Exception):
    """A program failed, or took too long: its name and its last words."""


@functools.cache
def user() -> tuple[int, int] | None:
    """(uid, gid) of ``nobody`` when we are root, whom PostgreSQL refuses. None: as we are."""
    if os.geteuid() != 0:
        return None
    found = pwd.getpwnam("nobody")
    return found.pw_uid, found.pw_gid


def own(path: Path) -> None:
    """Let the programs' user own a file or folder."""
    if (who := user()) is not None:
        os.chown(path, *who)


def child_setup() -> Callable[[], None]:
    """What to do in a forked child before it becomes the program: drop root, and die when we do."""
    who, parent = user(), os.getpid()

    def setup() -> None:
        os.setpgid(0, 0)
        if who is not None:
            os.setgroups([])
            os.setgid(who[1])
            os.setuid(who[0])
        _LIBC.prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL))  # a change of user undoes it
        if os.getppid() != parent:
            os._exit(127)

    return setup


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C", "PGCONNECT_TIMEOUT": "3", **(more or {})}


async def run(command: Sequence[str], cwd: Path, within: float, given: bytes = b"") -> str:
    """Run a program to its end, at most `within` s; what it said. Raises `ProgramError`."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=cwd,
            env=environment(),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            preexec_fn=child_setup(),
        )
    except OSError as error:
        raise ProgramError(f"{command[0]} can't be run: {error}") from error
    try:
        async with asyncio.timeout(within):
            said, _ = await process.communicate(given)
    except TimeoutError:
        raise ProgramError(f"{command[0]} took over {within:g} s") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    text = said.decode(errors="replace").strip()
    if process.returncode:
        raise ProgramError(
            f"{command[0]} failed: {' / '.join(text.splitlines()[-2:]) or 'silently'}"
        )
    return text
