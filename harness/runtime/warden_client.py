"""The warden from outside: starting one, and talking to it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import select
import socket
import subprocess
import sys
import time
import weakref
from typing import TYPE_CHECKING, Self, TypeVar

import msgspec

from harness.errors import RuntimeFailure
from harness.runtime import doctor
from harness.runtime.home import Room, rooms_dir
from harness.runtime.wire import MAX_LINE, Body, Exited, FromWarden, Reply, Request, Spawned, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

START_WITHIN = 20.0  # s; a cold interpreter on a busy machine takes two or three
ASK_WITHIN = 20.0  # s; the first preload of a program is the longest
STOP_WITHIN = 10.0
CLOSE_WITHIN = 100.0  # s; a warden gives up by itself before: on processes soon, on an engine late

T = TypeVar("T")
Event = Spawned | Exited


class WardenProcess:
    """A warden that ends with this process, and with it every cluster that it holds. Sync; also a context manager."""

    def __init__(self, room: Room, process: subprocess.Popen[bytes]) -> None:
        self.room = room
        self._process = process
        _close_in_forks(process)

    def __repr__(self) -> str:
        code = self._process.poll()
        return f"WardenProcess({self.room.path.name}, pid={self.pid}, {'runs' if code is None else f'exited {code}'})"

    @classmethod
    def start(cls, preload: Iterable[str] = ()) -> Self:
        """Sweep what dead wardens left, start one, wait until it listens. Raises `RuntimeFailure`, `SquallError`."""
        doctor.clean(doctor.find_leftovers())
        room = Room(rooms_dir() / f"run-{os.getpid()}-{time.monotonic_ns() // 1000 % 10**9}")
        process = subprocess.Popen(  # noqa: S603 - our own module
            _command(room, preload),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=_environment(),
            start_new_session=True,
        )
        assert process.stdout is not None
        said = _read_ready(process.stdout.fileno())
        process.stdout.close()
        if said != b"ready\n":
            process.kill()
            process.wait(STOP_WITHIN)
            raise RuntimeFailure(f"the warden did not start: {_last_line(said)}")
        return cls(room, process)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def socket(self) -> Path:
        return self.room.sock

    def close(self) -> None:
        """End it and everything that it holds, and wait. Idempotent."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(CLOSE_WITHIN)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(STOP_WITHIN)
        if self.room.path.exists():  # it was killed: what it held is ours to clear away
            doctor.clean(doctor.find_leftovers(self.room))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def start_detached(room: Room, preload: Iterable[str] = ()) -> None:
    """Start a warden that lives on its own until its kept cluster ends. Raises `RuntimeFailure`."""
    doctor.clean(doctor.find_leftovers())
    try:
        done = subprocess.run(  # noqa: S603 - our own module
            [*_command(room, preload), "--detach"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=_environment(),
            timeout=START_WITHIN,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise RuntimeFailure(f"the warden did not start within {START_WITHIN:g} s") from error
    if done.returncode != 0 or done.stdout != b"ready\n":
        raise RuntimeFailure(f"the warden did not start: {_last_line(done.stdout)}")


def _command(room: Room, preload: Iterable[str]) -> list[str]:
    modules = [word for module in preload for word in ("--preload", module)]
    return [sys.executable, "-m", "harness.runtime.warden", "--room", str(room.path), *modules]


def _environment() -> dict[str, str]:
    """A program that we could import, the warden can import too."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}  # noqa: PTH109 - a string is wanted


def _read_ready(fd: int) -> bytes:
    """What it says until it is ready, ends, or the deadline has come."""
    deadline, said = time.monotonic() + START_WITHIN, b""
    while not said.endswith(b"ready\n"):
        readable, _, _ = select.select([fd], [], [], max(0.0, deadline - time.monotonic()))
        data = os.read(fd, 4096) if readable else b""
        if not data:
            break
        said += data
    return said


def _last_line(said: bytes) -> str:
    lines = said.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"it said nothing within {START_WITHIN:g} s"


def _close_in_forks(process: subprocess.Popen[bytes]) -> None:
    """The pipe means "your parent lives": a worker forked from us must not keep it open beyond our end."""
    kept = weakref.ref(process)

    def close() -> None:
        held = kept()
        if held is not None and held.stdin is not None:
            with contextlib.suppress(OSError):
                held.stdin.close()

    os.register_at_fork(after_in_child=close)


class WardenClient:
    """One connection, which is a lease on one cluster. Calls are sync until `listen`, then async, for the loop's sake."""

    def __init__(self, path: Path) -> None:
        """Raises `RuntimeFailure` when no warden listens there."""
        self._path = path
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._sock.settimeout(ASK_WITHIN)
        try:
            self._sock.connect(str(path))
        except OSError as error:
            self._sock.close()
            raise RuntimeFailure(f"no warden answers at {path}: {error.strerror}") from error
        self._numbers = itertools.count(1)
        self._decoder: msgspec.json.Decoder[FromWarden] = msgspec.json.Decoder(FromWarden)
        self._writer: asyncio.StreamWriter | None = None
        self._listener: asyncio.Task[None] | None = None
        self._open: dict[int, asyncio.Future[msgspec.Raw]] = {}
        self._lost = ""

    def __repr__(self) -> str:
        state = "closed" if self._sock.fileno() < 0 else self._lost or "connected"
        return f"WardenClient({self._path.parent.name}, {state}, {len(self._open)} open)"

    @property
    def lost(self) -> str:
        """Why the connection is no more; empty while it is."""
        return self._lost

    @property
    def listening(self) -> bool:
        """Whether `ask` may be used."""
        return self._writer is not None

    def ask_now(self, body: Body, kind: type[T]) -> T:
        """Ask and wait, blocking; only before `listen`. Raises `RuntimeFailure`."""
        assert self._listener is None
        number = next(self._numbers)
        inbox = b""
        try:
            self._sock.sendall(encode(Request(number, body)))
            while not inbox.endswith(b"\n"):
                data = self._sock.recv(65536)
                if not data:
                    raise RuntimeFailure("the warden has ended")
                inbox += data
        except OSError as error:
            raise RuntimeFailure(f"the warden does not answer: {error}") from error
        replies = [self._decoder.decode(line) for line in inbox.splitlines()]
        for reply in replies:
            if isinstance(reply, Reply) and reply.id == number:
                if reply.error is not None:
                    raise RuntimeFailure(reply.error)
                return msgspec.json.decode(reply.result, type=kind)
        raise RuntimeFailure(f"the warden answered something else: {inbox!r}")

    async def listen(self, heard: Callable[[Event], None]) -> None:
        """From now on the running loop serves this connection, and `heard` is told of the cluster's nodes."""
        self._sock.setblocking(False)
        reader, self._writer = await asyncio.open_connection(sock=self._sock, limit=MAX_LINE)
        self._listener = asyncio.create_task(self._listen(reader, heard))

    async def ask(self, body: Body, kind: type[T], within: float = ASK_WITHIN) -> T:
        """Raises `RuntimeFailure` with what the warden refused, or when it has not answered `within` s."""
        if self._lost or self._writer is None:
            raise RuntimeFailure(self._lost or "not connected")
        number = next(self._numbers)
        answer: asyncio.Future[msgspec.Raw] = asyncio.get_running_loop().create_future()
        self._open[number] = answer
        try:
            self._writer.write(encode(Request(number, body)))
            raw = await asyncio.wait_for(answer, within)
        except TimeoutError as error:
            what = type(body).__name__.lower()
            raise RuntimeFailure(
                f"the warden did not answer '{what}' within {within:g} s"
            ) from error
        finally:
            self._open.pop(number, None)
        return msgspec.json.decode(raw, type=kind)

    async def _listen(self, reader: asyncio.StreamReader, heard: Callable[[Event], None]) -> None:
        try:
            while line := await reader.readline():
                message = self._decoder.decode(line)
                if isinstance(message, Reply):
                    self._settle(message)
                else:
                    heard(message)
        except (OSError, ValueError, msgspec.MsgspecError) as error:
            self._fail(f"the connection to the warden broke: {error}")
        else:
            self._fail("the warden has ended")
        if (
            self._sock.fileno() >= 0
        ):  # not we who closed: what a killed warden held is cleared away at once
            await asyncio.to_thread(_sweep, Room(self._path.parent))

    def _settle(self, reply: Reply) -> None:
        answer = self._open.get(reply.id)
        if answer is None or answer.done():
            return
        if reply.error is None:
            answer.set_result(reply.result)
        else:
            answer.set_exception(RuntimeFailure(reply.error))

    def _fail(self, why: str) -> None:
        self._lost = why
        for answer in self._open.values():
            if not answer.done():
                answer.set_exception(RuntimeFailure(why))

    async def aclose(self) -> None:
        """End the lease. Idempotent."""
        if self._listener is not None:
            self._listener.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._listener
            self._listener = None
        if self._writer is not None:
            self._writer.close()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()
        self.close()

    def close(self) -> None:
        """End the lease of a connection that `listen` was not called on."""
        self._fail("closed")
        self._sock.close()


def _sweep(room: Room) -> None:
    """Its socket closes a moment before its lock when a warden dies; one that ends in good order removes the room."""
    deadline = time.monotonic() + STOP_WITHIN
    while room.path.exists() and time.monotonic() < deadline:
        doctor.clean(doctor.find_leftovers(room))
        time.sleep(0.02)
