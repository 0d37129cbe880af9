"""Does the machine give the platform the time that it wants? A process of the platform's priority that only wakes and sleeps.

It is due each 10 ms. When it comes 5 ms late or more, so did every node that was due then: that much of a slow reaction was the
machine's, not the platform's. A virtual machine whose host is busy stops like this for tens of milliseconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import struct
import time
from typing import TYPE_CHECKING, NoReturn

from harness.history import Stall
from harness.priority import PLATFORM, set_nice
from harness.runtime.programs import die_with_parent
from harness.units import NS

if TYPE_CHECKING:
    from collections.abc import Callable

PERIOD_S = 0.010
LEAST_NS = 5_000_000  # what is late by less happens on every machine
_BEAT = struct.Struct("=qq")  # when it came (monotonic ns), how late (ns)


class Metronome:
    """Forked where nothing else runs (no threads, no loop); `attach` it to a loop, and `close` it at the end."""

    def __init__(self) -> None:
        self._read, write = os.pipe()
        parent = os.getpid()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self._read)
            _beat(write, parent)
        os.close(write)
        os.set_blocking(self._read, False)
        self._stalls = 0

    def __repr__(self) -> str:
        return f"<Metronome pid={self._pid} {self._stalls} stalls>"

    def attach(self, record: Callable[[Stall], None], origin_ns: int) -> None:
        """From now on each stall is recorded, in the running loop."""

        def heard() -> None:
            with contextlib.suppress(BlockingIOError):
                heap = os.read(self._read, 64 * _BEAT.size)
                for at, late in _BEAT.iter_unpack(heap):
                    if at > origin_ns:
                        self._stalls += 1
                        record(Stall(t=at - origin_ns, lasted=late))

        asyncio.get_running_loop().add_reader(self._read, heard)

    def detach(self) -> None:
        """No more is recorded. In the loop of `attach`."""
        asyncio.get_running_loop().remove_reader(self._read)

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        os.close(self._read)


def _beat(write: int, parent: int) -> NoReturn:
    """In the child: wake, look, sleep, until the parent is gone."""
    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)  # the parent ends it
        die_with_parent()
        set_nice(PLATFORM)
        os.set_blocking(write, False)
        due = time.monotonic_ns()
        while os.getppid() == parent:
            due += round(PERIOD_S * NS)
            time.sleep(max(0.0, (due - time.monotonic_ns()) / NS))
            now = time.monotonic_ns()
            if now - due >= LEAST_NS:
                os.write(write, _BEAT.pack(now, now - due))
                due = now
    finally:
        os._exit(0)
