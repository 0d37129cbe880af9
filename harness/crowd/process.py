"""A crowd's process, from outside: begun, asked, ended."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from harness.errors import RuntimeFailure

if TYPE_CHECKING:
    from harness.crowd.streams import Options

PROGRAM = Path(__file__).with_name("streams.py")
ANSWER_WITHIN = 5.0  # s
LONGEST = 1 << 22  # bytes of an answer


class Told(msgspec.Struct, frozen=True):
    """What a crowd of streams saw so far.

    `open`: those on whose connection something came, and that were not cut since. `gaps` and `repeats` count changes that
    did not follow on the one before. `first` and `last`: the lowest and the highest position that a stream has. Delays
    from commit to arrival in ms. `came`: monotonic times, s, at which streams were established.
    """

    streams: int
    open: int
    connects: int
    closes: int
    changes: int
    heartbeats: int
    bytes: int
    gaps: int
    repeats: int
    refused: int
    error: str
    first: int
    last: int
    measured: int
    p50: float
    p99: float
    max: float
    came: list[float]


class CrowdProcess:
    """It ends with this process at the latest, for its stdin ends then."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self._process: asyncio.subprocess.Process | None = None

    def __repr__(self) -> str:
        state = f"pid {self._process.pid}" if self._process else "not begun"
        return f"<CrowdProcess {self.options.streams} streams, {state}>"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    async def start(self) -> None:
        """Idempotent. Raises `RuntimeFailure` where no process can be made."""
        if self._process is not None:
            return
        options = msgspec.json.encode(asdict(self.options)).decode()
        try:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-S", "-E", str(PROGRAM), options),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=LONGEST,
                start_new_session=True,
            )
        except OSError as error:
            raise RuntimeFailure(f"no crowd of streams: {error}") from None

    async def ask(self, *, forget: bool = False) -> Told:
        """What it saw; `forget` the delays and arrivals afterwards. Raises `RuntimeFailure` where it does not answer."""
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            raise RuntimeFailure(f"{self!r} was not begun")
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                process.stdin.write(b"forget\n" if forget else b"tell\n")
                await process.stdin.drain()
                line = await process.stdout.readline()
            return msgspec.json.decode(line, type=Told)
        except (TimeoutError, OSError, ValueError) as error:
            raise RuntimeFailure(f"{self!r} does not answer: {error!r}") from None

    async def end(self) -> None:
        """Idempotent."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
