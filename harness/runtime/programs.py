"""What a freshly forked child does to become a node. Runs between fork and exec (or ``main``), in the warden's child."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import io
import os
import signal
import sys
import traceback
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.runtime.wire import Spawn

_PR_SET_PDEATHSIG, _PR_SET_NAME, _PR_SET_CHILD_SUBREAPER = 1, 15, 36
# Loaded once, before any fork.
_LIBC = ctypes.CDLL(None, use_errno=True)

# The exit code of a child that could not even begin, as the shell has it.
CANT_BEGIN = 127


def die_with_parent(number: int = signal.SIGKILL) -> None:
    """Let the kernel send this process a signal when its parent ends. A change of user undoes it: call it afterwards."""
    _prctl(_PR_SET_PDEATHSIG, int(number))


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends, so that none gets out of sight."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int | bytes) -> None:
    argument = ctypes.c_char_p(value) if isinstance(value, bytes) else ctypes.c_ulong(value)
    if _LIBC.prctl(option, argument, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def fork_node(spec: Spawn) -> int:
    """Fork a child that becomes the node; returns its pid. The caller must be single-threaded."""
    parent = os.getpid()
    log = os.open(spec.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    try:
        return _fork(lambda: _become(spec, log, parent))
    finally:
        os.close(log)


def fork_helper(act: Callable[[], None], log: int) -> int:
    """Fork a child that does one act and exits: 0, or 1 with the traceback in the log."""
    parent = os.getpid()

    def run() -> None:
        _settle(log, parent)
        act()

    return _fork(run)


def _fork(run: Callable[[], None]) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = CANT_BEGIN
    try:
        run()
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:  # noqa: BLE001 - a child must never return into the warden's loop
        code = 1
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _settle(log: int, parent: int, spec: Spawn | None = None) -> None:
    """Session, signals, descriptors, user; and the promise to die with the warden."""
    os.setsid()
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        with contextlib.suppress(OSError, ValueError):  # real-time signals of the C library
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.closerange(3, max(int(name) for name in os.listdir("/proc/self/fd")) + 1)  # noqa: PTH208 - names
    if spec is not None and spec.gid is not None:
        os.setgroups([])
        os.setgid(spec.gid)
    if spec is not None and spec.uid is not None:
        os.setuid(spec.uid)
    die_with_parent()
    if os.getppid() != parent:  # it ended before the promise was made
        os._exit(CANT_BEGIN)


def _become(spec: Spawn, log: int, parent: int) -> NoReturn:
    _settle(log, parent, spec)
    os.nice(spec.nice)
    os.chdir(spec.cwd)
    os.environ.update(spec.env)
    if not spec.module:
        os.execvpe(spec.argv[0], spec.argv, os.environ)  # noqa: S606 - that is what a spawn is
    # Python's own defaults, for a Python program.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    _prctl(_PR_SET_NAME, spec.node.encode()[:15])
    sys.argv = [spec.module, *spec.argv]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True)
    gc.enable()
    main = importlib.import_module(spec.module).main
    main(list(spec.argv))
    sys.exit(0)
