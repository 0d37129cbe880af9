"""A node of several processes: a lead and its workers, forked and kept by a parent that does nothing else.

The parent has no loop and no thread, so that it can fork at any time. Each child dies with it. A worker that ends is
replaced; when the lead ends, the node does.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from reference_impl.role import Role

STOP_WITHIN: Final = 3.0  # s; a role has 2 to stop
AGAIN_AFTER: Final = 0.2  # s until a worker is replaced that did not live that long
_LEAD: Final = "lead"
MORE: Final = signal.SIGUSR1  # tells the parent to look how many workers are wanted
_WATCHED: Final = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, MORE}
_ENDING: Final = (signal.SIGTERM, signal.SIGINT)
_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15
_LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Crew:
    """What a node is made of. What its makers hold is shared: they are called in the forked processes.

    `wanted`: how many workers there should be, by now. `left` is told of each worker that has ended, before it is replaced;
    one that is not wanted any more ends by itself, and is not.
    """

    lead: Callable[[], Role]
    worker: Callable[[int], Role]
    wanted: Callable[[], int]
    left: Callable[[int], None]


class Keeper:
    """Keeps a crew. `run_role` runs a role until SIGTERM, in a forked process."""

    def __init__(self, crew: Crew, run_role: Callable[[Callable[[], Role]], None]) -> None:
        self.crew = crew
        self.replaced = 0
        self._run_role = run_role
        self._pids: dict[int, int | None] = {}  # to the worker's number; None: the lead
        self._begun: dict[int, float] = {}
        self._due: dict[int, float] = {}  # workers to be replaced, and when

    def __repr__(self) -> str:
        return f"<Keeper of {len(self._pids)} processes, {self.replaced} replaced>"

    def run(self) -> int:
        """Until SIGTERM or SIGINT, or the lead's end; the node's exit code. The caller must be single-threaded."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
        self._fork(None)
        self._grow()
        while True:
            told = signal.sigtimedwait(_WATCHED, self._patience())
            if told is not None and told.si_signo in _ENDING:
                return self._stop(0)
            for pid, code in _ended():
                who = self._pids.pop(pid)
                if who is None:
                    return self._stop(code or 1)
                if who < self.crew.wanted():
                    self.ended(who)
                else:
                    self._left(who)
            self._replace()
            self._grow()

    def _grow(self) -> None:
        """Fork the workers that are wanted and neither there nor due to be replaced."""
        missing = {*range(self.crew.wanted())} - {*self._pids.values()} - {*self._due}
        for index in sorted(missing):
            self._fork(index)

    def _left(self, index: int) -> None:
        self.crew.left(index)
        print(f"worker {index} has left", flush=True)

    def _replace(self) -> None:
        for index in [index for index, due in self._due.items() if due <= time.monotonic()]:
            del self._due[index]
            self._fork(index)

    def ended(self, index: int) -> None:
        """A worker has: it is replaced at once, but for one that ends as soon as it begins."""
        self.crew.left(index)
        self.replaced += 1
        print(f"worker {index} has ended and is replaced", flush=True)
        now = time.monotonic()
        self._due[index] = max(now, self._begun[index] + AGAIN_AFTER)

    def _patience(self) -> float:
        return max(0.0, min(self._due.values(), default=time.monotonic() + 60) - time.monotonic())

    def _fork(self, index: int | None) -> None:
        parent = os.getpid()
        sys.stdout.flush()
        pid = os.fork()
        if not pid:
            self._become(index, parent)
        self._pids[pid] = index
        if index is not None:
            self._begun[index] = time.monotonic()

    def _become(self, index: int | None, parent: int) -> None:
        code = 1
        try:
            _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:  # it ended before the promise was made
                os._exit(1)
            name = _LEAD if index is None else f"worker-{index}"
            _prctl(_PR_SET_NAME, ctypes.c_char_p(name.encode()))
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            crew = self.crew
            self._run_role(crew.lead if index is None else lambda: crew.worker(index))
            code = 0
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
        except BaseException:  # noqa: BLE001 - a child must never return into its parent's code
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _stop(self, code: int) -> int:
        """End all that still run, in order, then by force."""
        deadline = time.monotonic() + STOP_WITHIN
        self._signal(signal.SIGTERM)
        while self._pids and (left := deadline - time.monotonic()) > 0:
            signal.sigtimedwait({signal.SIGCHLD}, left)
            for pid, _ in _ended():
                self._pids.pop(pid, None)
        self._signal(signal.SIGKILL)
        return code

    def _signal(self, number: int) -> None:
        for pid in self._pids:
            os.kill(pid, number)  # ours until it is waited for


def _ended() -> list[tuple[int, int]]:
    """Pid and exit code of each child that has ended."""
    found: list[tuple[int, int]] = []
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if not pid:
            return found
        found.append((pid, os.waitstatus_to_exitcode(status)))


def _prctl(option: int, value: int | ctypes.c_char_p) -> None:
    argument = ctypes.c_ulong(value) if isinstance(value, int) else value
    _LIBC.prctl(option, argument, 0, 0, 0)
