"""Programs as child processes of a node: PostgreSQL's own and tar, from PATH. They die when we do, and none runs for ever."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import functools
import os
import pwd
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

PR_SET_PDEATHSIG: Final = 1
END_WITHIN: Final = 1.0  # s that a program gets to end
LAST_WORDS: Final = 300  # characters
NICE: Final = ("nice", "-n", "15")  # what takes much of the machine gives way to those who serve
_LIBC = ctypes.CDLL(None, use_errno=True)  # loaded before any fork


class ProgramError(Exception):
    """A program failed, or took too long: its name and its last words, in one line."""


@functools.cache
def server_user() -> tuple[int, int] | None:
    """(uid, gid) of ``nobody`` when we are root, whom PostgreSQL's server refuses. None: as we are."""
    if os.geteuid() != 0:
        return None
    found = pwd.getpwnam("nobody")
    return found.pw_uid, found.pw_gid


def own(path: Path) -> None:
    """Let the server's user own a file or folder."""
    if (who := server_user()) is not None:
        os.chown(path, *who)


async def start(
    command: Sequence[str],
    *,
    cwd: Path | None = None,
    as_server: bool = False,
    stdin: int = asyncio.subprocess.DEVNULL,
    output: int | None = None,
) -> asyncio.subprocess.Process:
    """A program in a process group of its own, as ourselves or as the server's user. Raises `ProgramError`."""
    try:
        return await asyncio.create_subprocess_exec(
            *command,
            cwd=cwd,
            env={**os.environ, "LC_ALL": "C", "PGCONNECT_TIMEOUT": "3"},
            stdin=stdin,
            stdout=output,
            stderr=None if output is None else asyncio.subprocess.STDOUT,
            preexec_fn=_child_setup(server_user() if as_server else None),
        )
    except OSError as error:
        raise ProgramError(f"{_name(command)} can't be run: {error.strerror}") from error


async def run(
    command: Sequence[str],
    within: float | None,
    *,
    cwd: Path | None = None,
    as_server: bool = False,
    given: bytes = b"",
) -> str:
    """Run a program to its end, at most `within` s (None: until cancelled); what it said. Raises `ProgramError`."""
    pipe = asyncio.subprocess.PIPE
    # Nothing is written to one that may have ended already.
    stdin = pipe if given else asyncio.subprocess.DEVNULL
    process = await start(command, cwd=cwd, as_server=as_server, stdin=stdin, output=pipe)
    try:
        async with asyncio.timeout(within):
            raw, _ = await process.communicate(given or None)
    except TimeoutError:
        raise ProgramError(f"{_name(command)} took over {within:g} s") from None
    finally:
        await end(process)
    said = raw.decode(errors="replace")
    if process.returncode:
        words = " ".join(said.split())[-LAST_WORDS:] or "no word"
        raise ProgramError(f"{_name(command)} failed with {process.returncode}: {words}")
    return said.strip()


async def end(
    process: asyncio.subprocess.Process, number: int = signal.SIGTERM, within: float = END_WITHIN
) -> None:
    """End a process and wait for it: by signal `number`, then its whole group by SIGKILL. Idempotent."""
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)
        try:
            await asyncio.wait_for(process.wait(), within)
        except TimeoutError:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


def _name(command: Sequence[str]) -> str:
    return command[len(NICE)] if tuple(command[: len(NICE)]) == NICE else command[0]


def _child_setup(who: tuple[int, int] | None) -> Callable[[], None]:
    """What to do in a forked child before it becomes the program: drop root, and die when we do."""
    parent = os.getpid()

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
