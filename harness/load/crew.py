"""One locust, as the harness runs it: a master and its workers, each a process of its own that ends with this one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, TypeVar

import msgspec

from harness.errors import MissingPartError, RuntimeFailure
from harness.load.job import Finished, Listening, Ready, Said
from harness.load.side import LOAD_NICE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from harness.load.job import Job

START_WITHIN = 60.0  # s; two on an idle machine
GONE_WITHIN = 5.0
LOG_TAIL = 5  # lines
SIDE = "harness.load.side"
T = TypeVar("T", Listening, Ready)


class Crew:
    """Started and waiting; `go`, then `messages` until it has `Finished`, for which `stop` asks. Close it."""

    def __init__(self, job: Job, folder: Path, name: str) -> None:
        self._job = job
        self._log = folder / f"load-{name}.log"
        self._file = folder / f"load-{name}.json"
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._decode = msgspec.json.Decoder(Said).decode

    def __repr__(self) -> str:
        states = (
            f"{name} {'runs' if p.returncode is None else p.returncode}"
            for name, p in self._processes.items()
        )
        return f"<Crew {self._job.kind}: {', '.join(states)}>"

    @classmethod
    async def start(cls, job: Job, folder: Path, name: str, host: str) -> Crew:
        """Master and workers at the loopback address `host`, on a port that the kernel chose.

        Raises `MissingPartError` where there is no locust, `RuntimeFailure` where it does not start in time.
        """
        if find_spec("locust") is None:
            raise MissingPartError("locust is missing, which makes load: pip install locust")
        crew = cls(job, folder, name)
        try:
            async with asyncio.timeout(START_WITHIN):
                await crew._start(host)
        except TimeoutError:
            tail = crew.tail()
            await crew.close()
            raise RuntimeFailure(
                f"locust did not start within {START_WITHIN:g} s: {crew!r}{tail}"
            ) from None
        except BaseException:
            await crew.close()
            raise
        return crew

    async def _start(self, host: str) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._file.write_bytes(msgspec.json.format(msgspec.json.encode(self._job), indent=1))
        await self._spawn("master", host, stdin=asyncio.subprocess.PIPE)
        port = (await self._expect(Listening)).port
        for number in range(1, self._job.workers + 1):
            await self._spawn("worker", host, str(port), number=number)
        await self._expect(Ready)

    async def _spawn(
        self, role: str, *words: str, number: int = 0, stdin: int | None = None
    ) -> None:
        argv = ["-m", SIDE, role, str(self._file), str(os.getpid()), *words]
        with self._log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *_renice(),
                sys.executable,
                *argv,
                stdin=asyncio.subprocess.DEVNULL if stdin is None else stdin,
                stdout=asyncio.subprocess.PIPE if stdin is not None else log,
                stderr=log,
                start_new_session=True,
            )
        self._processes[f"{role} {number}" if number else role] = process

    async def _expect(self, kind: type[T]) -> T:
        said = await self._next()
        if not isinstance(said, kind):
            raise RuntimeFailure(f"locust ended before it began: {self!r}{self.tail()}")
        return said

    async def _next(self) -> Said | None:
        output = self._processes["master"].stdout
        assert output is not None
        line = await output.readline()
        return self._decode(line) if line.endswith(b"\n") else None

    @property
    def pids(self) -> dict[str, int]:
        """By "master", "worker 1" …"""
        return {name: process.pid for name, process in self._processes.items()}

    def go(self) -> None:
        self._tell("go")

    def stop(self) -> None:
        """Let all users end what they are at; then it has `Finished`. Idempotent."""
        self._tell("stop")

    def _tell(self, word: str) -> None:
        pipe = self._processes["master"].stdin
        assert pipe is not None
        with contextlib.suppress(OSError, RuntimeError):  # it has ended: `messages` says so
            pipe.write(word.encode() + b"\n")

    async def messages(self) -> AsyncIterator[Said]:
        """What the master says, up to its `Finished`, or to its end without one."""
        while (said := await self._next()) is not None:
            yield said
            if isinstance(said, Finished):
                return

    async def dead(self) -> str:
        """Which process has ended, or is just about to, and how; "" for none."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GONE_WITHIN / 5):
                await self._processes["master"].wait()
        ended = (
            f"{n} ended with {p.returncode}"
            for n, p in self._processes.items()
            if p.returncode is not None
        )
        return ", ".join(ended)

    def tail(self) -> str:
        """The last lines of their log, each on one of its own."""
        try:
            lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return ""
        return "".join(f"\n    {line}" for line in lines[-LOG_TAIL:])

    async def close(self) -> None:
        """End all processes. Idempotent."""
        for process in self._processes.values():
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(signal.SIGKILL)
        waits = [process.wait() for process in self._processes.values()]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GONE_WITHIN):
                await asyncio.gather(*waits)


def _renice() -> list[str]:
    """A child inherits the priority of what measures, which is not load's."""
    above = os.getpriority(os.PRIO_PROCESS, 0)
    return ["nice", "-n", str(LOAD_NICE - above)] if above < LOAD_NICE else []


__all__ = ["Crew"]
