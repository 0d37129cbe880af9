"""Many stream subscribers in one process: a program of the standard library alone, one socket and a few numbers each.

`python streams.py '{"host": …, "port": …, "streams": …}'`. Each line on stdin is answered by one of JSON on stdout (`Told`
in `harness.crowd.process`); the process ends with its stdin. It follows no proxy and no name: it is told an address.
"""

from __future__ import annotations

import contextlib
import errno
import heapq
import json
import math
import os
import random
import re
import resource
import selectors
import socket
import sys
import time
from dataclasses import dataclass, field
from typing import Any

CONNECTING = 256  # connections under way at a time: below a server's backlog
CHUNK = 1 << 18
EVENT = re.compile(rb"event: (change|snapshot)\nid: (\d+)\n")
COMMITTED = re.compile(rb'"at":(\d{18,})')
HEARTBEAT = b"event: heartbeat"
END = b"\n\n"


@dataclass
class Options:
    """`slow` of the streams don't read for `slow_for` s after each opening; all come back within `spread` s of being cut."""

    host: str
    port: int
    streams: int
    path: str = "/stream"
    source: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    spread: float = 1.0
    slow: int = 0
    slow_for: float = 0.0
    receive_buffer: int = 0  # bytes of the kernel's, of the slow ones; 0: as it is


@dataclass
class Totals:
    connects: int = 0
    closes: int = 0
    changes: int = 0
    heartbeats: int = 0
    bytes: int = 0
    gaps: int = 0  # a change that does not follow on what came before
    repeats: int = 0  # a change that had come before
    refused: int = 0  # answers that are no stream
    error: str = ""  # the last that a socket said


class Stream:
    """One subscriber over all its connections. `last`: the id it has, -1 for none. `seen`: something came on this one."""

    __slots__ = ("at_rest", "last", "number", "rest", "seen", "slow", "sock")

    def __init__(self, number: int, *, slow: bool) -> None:
        self.number = number
        self.sock: socket.socket | None = None
        self.last = -1
        self.rest = b""
        self.seen = False
        self.slow = slow
        self.at_rest = False  # a slow one that does not read


class Streams:
    """All of them, and what they saw."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.totals = Totals()
        self.delays: list[float] = []  # ms from a change's commit stamp to here
        self.came: list[float] = []  # clock time of each stream that was established
        self.all = [Stream(n, slow=n < options.slow) for n in range(options.streams)]
        self.selector = selectors.EpollSelector()
        self.due = [(0.0, n) for n in range(len(self.all))]  # a heap: when to connect, which
        self.waking: list[tuple[float, Stream]] = []
        self.opening = 0

    def __repr__(self) -> str:
        return f"<Streams {self.open} of {len(self.all)} open, {self.totals}>"

    @property
    def open(self) -> int:
        return sum(stream.seen for stream in self.all)

    def turn(self) -> bool:
        """One round. False when stdin has ended."""
        now = time.monotonic()
        while self.due and self.due[0][0] <= now and self.opening < CONNECTING:
            self._connect(self.all[heapq.heappop(self.due)[1]])
        while self.waking and self.waking[0][0] <= now:
            self._wake(self.waking.pop(0)[1])
        for key, _ in self.selector.select(0.02):
            if key.data is None:
                if not self._command():
                    return False
            elif key.events & selectors.EVENT_WRITE:
                self._ask(key.data)
            else:
                self._read(key.data)
        return True

    def _command(self) -> bool:
        words = os.read(0, 4096).split()
        for word in words:
            sys.stdout.write(json.dumps(self.told()) + "\n")
            sys.stdout.flush()
            if word == b"forget":
                self.delays.clear()
                self.came.clear()
        return bool(words)

    def told(self) -> dict[str, Any]:
        delays = sorted(self.delays)
        lasts = [stream.last for stream in self.all]
        return {
            **vars(self.totals),
            "streams": len(self.all),
            "open": self.open,
            "first": min(lasts, default=-1),
            "last": max(lasts, default=-1),
            "measured": len(delays),
            "p50": _quantile(delays, 0.5),
            "p99": _quantile(delays, 0.99),
            "max": delays[-1] if delays else 0.0,
            "came": [round(at, 3) for at in self.came],
        }

    def _connect(self, stream: Stream) -> None:
        family = socket.AF_INET6 if ":" in self.options.host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setblocking(False)
        if stream.slow and self.options.receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.options.receive_buffer)
        stream.sock, stream.rest, stream.seen = sock, b"", False
        self.totals.connects += 1
        self.opening += 1
        try:
            if self.options.source:
                sock.bind((self.options.source, 0))
            code = sock.connect_ex((self.options.host, self.options.port))
        except OSError as error:
            code = error.errno or errno.EIO
        if code not in (0, errno.EINPROGRESS):
            self.selector.register(sock, selectors.EVENT_WRITE, stream)
            self._closed(stream, os.strerror(code))
            return
        self.selector.register(sock, selectors.EVENT_WRITE, stream)

    def _ask(self, stream: Stream) -> None:
        sock, options = stream.sock, self.options
        assert sock is not None
        if code := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._closed(stream, os.strerror(code))
            return
        self.selector.modify(sock, selectors.EVENT_READ, stream)
        lines = [f"GET {options.path} HTTP/1.1", f"Host: {options.host}:{options.port}"]
        lines += ["Accept: text/event-stream"]
        lines += [f"{name}: {value}" for name, value in options.headers.items()]
        if stream.last >= 0:
            lines.append(f"Last-Event-ID: {stream.last}")
        try:
            sock.send("\r\n".join([*lines, "", ""]).encode())
        except OSError as error:
            self._closed(stream, str(error))

    def _read(self, stream: Stream) -> None:
        assert stream.sock is not None
        try:
            data = stream.sock.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError as error:
            self._closed(stream, str(error))
            return
        if not data:
            self._closed(stream, "")
            return
        self.totals.bytes += len(data)
        whole, end, stream.rest = (stream.rest + data).rpartition(END)
        if end:
            self._take(stream, whole + end)
        elif not stream.seen and stream.rest.startswith(b"HTTP/1.1 ") and stream.rest[9:10] != b"2":
            self.totals.refused += 1
            self._closed(stream, stream.rest[:40].decode(errors="replace"))

    def _take(self, stream: Stream, events: bytes) -> None:
        """Whole events, between which the head of the answer and the sizes of chunks are passed over."""
        beats = events.count(HEARTBEAT)
        self.totals.heartbeats += beats
        found = False
        for match in EVENT.finditer(events):
            found = True
            position = int(match[2])
            if match[1] == b"change":
                self._change(stream, position)
            stream.last = max(stream.last, position)
        if found:
            now = time.time_ns()
            self.delays += [(now - int(at[1])) / 1e6 for at in COMMITTED.finditer(events)]
        if (found or beats) and not stream.seen:
            self._established(stream)

    def _change(self, stream: Stream, position: int) -> None:
        self.totals.changes += 1
        if position <= stream.last:
            self.totals.repeats += 1
        elif stream.last >= 0 and position != stream.last + 1:
            self.totals.gaps += 1

    def _established(self, stream: Stream) -> None:
        stream.seen = True
        self.opening -= 1
        self.came.append(time.monotonic())
        if stream.slow and not stream.at_rest and self.options.slow_for:
            assert stream.sock is not None
            self.selector.unregister(stream.sock)
            stream.at_rest = True
            self.waking.append((time.monotonic() + self.options.slow_for, stream))

    def _wake(self, stream: Stream) -> None:
        """It reads from now on."""
        assert stream.sock is not None
        self.selector.register(stream.sock, selectors.EVENT_READ, stream)
        stream.slow = False

    def _closed(self, stream: Stream, error: str) -> None:
        assert stream.sock is not None
        self.totals.closes += 1
        self.totals.error = error or self.totals.error
        self.opening -= not stream.seen
        with contextlib.suppress(KeyError):
            self.selector.unregister(stream.sock)
        stream.sock.close()
        stream.sock, stream.seen = None, False
        at = time.monotonic() + random.uniform(0.0, self.options.spread)
        heapq.heappush(self.due, (at, stream.number))


def _quantile(ordered: list[float], q: float) -> float:
    """The nearest rank; 0 of nothing."""
    return ordered[max(0, math.ceil(q * len(ordered)) - 1)] if ordered else 0.0


def main(argv: list[str]) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    streams = Streams(Options(**json.loads(argv[0])))
    os.set_blocking(0, False)
    streams.selector.register(0, selectors.EVENT_READ, None)
    while streams.turn():
        pass


if __name__ == "__main__":
    main(sys.argv[1:])
