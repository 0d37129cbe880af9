"""Follows a stream for as long as any upstream serves one ("Regional Hub Failover").

Upstreams are in order of preference: a region's hub, its backup, then the origin. When one fails the next is tried,
round and round; when a preferred one is well again, the subscriber moves back, opening the new stream before it
leaves the old.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Sequence
from enum import StrEnum
from typing import Any, Final, NoReturn

from reference_impl.config import Upstream
from reference_impl.propagation import sse
from reference_impl.propagation.client import StreamClient
from reference_impl.propagation.settings import FollowSettings
from reference_impl.propagation.store import Sink
from reference_impl.propagation.types import Change, Heartbeat, Prewarm, Snapshot
from reference_impl.resilience.errors import CONNECTION_RESET, INVALID, TIMEOUT, CallError

GAPS_TOLERATED: Final = 3  # resynchronisations in a row before an upstream counts as failed
Alert = Callable[[str, dict[str, object]], None]


class SubscriberState(StrEnum):
    IDLE = "idle"
    CONNECTING = "connecting"
    WAITING = "waiting"  # for its turn to try again
    CONNECTED = "connected"


class _Gap(Exception):  # noqa: N818 - it is no failure of the call
    """Something is missing between what we have and what came."""


def _nothing() -> None: ...


def _nobody(_: Prewarm) -> None: ...


def _unheard(_upstream: Upstream, _beat: Heartbeat) -> None: ...


class Subscriber:
    """Keeps `sink` up to date. `state`, `upstream` and `error` tell how it goes; `run` never returns.

    `connected` and `disconnected` are called as service by any upstream begins and ends; a planned move between
    two upstreams is neither.
    """

    def __init__(
        self,
        upstreams: Sequence[Upstream],
        sink: Sink,
        client: StreamClient,
        settings: FollowSettings,
        chance: random.Random,
        *,
        alert: Alert,
        connected: Callable[[], None] = _nothing,
        disconnected: Callable[[], None] = _nothing,
        prewarm: Callable[[Prewarm], None] = _nobody,
        beat: Callable[[Upstream, Heartbeat], None] = _unheard,
        raw: bool = False,
    ) -> None:
        """`raw`: the sink takes snapshots whose definitions are bytes. `prewarm` is called with each that comes, `beat` with each heartbeat."""
        if not upstreams:
            raise ValueError("a subscriber needs an upstream")
        self.upstreams = tuple(upstreams) if settings.failover else tuple(upstreams[:1])
        self.sink = sink
        self.settings = settings
        self.state = SubscriberState.IDLE
        self.upstream: Upstream | None = None
        self.error: CallError | None = None
        self.resyncs = 0
        self.failovers = 0
        self._client = client
        self._chance = chance
        self._alert = alert
        self._on_connected = connected
        self._on_disconnected = disconnected
        self._on_prewarm = prewarm
        self._on_beat = beat
        self._left: Upstream | None = None  # the upstream whose failure we are getting over
        self._resync = False
        self._nudged = asyncio.Event()
        self._raw = raw

    def __repr__(self) -> str:
        upstream = self.upstream.to if self.upstream else None
        error = self.error.kind if self.error else None
        return f"<Subscriber {self.state} upstream={upstream} seq={self.sink.seq} error={error}>"

    async def run(self) -> NoReturn:
        """Follow until cancelled."""
        loop = asyncio.get_running_loop()
        index, failures = 0, 0
        patient_until = loop.time() + self.settings.patience
        while True:
            self.state = SubscriberState.CONNECTING
            index, error, established = await self._follow(index)
            self.error = error
            failures = 0 if established else failures + 1
            self._left = self._left or self.upstreams[index]
            self.upstream = None
            if established:
                self._on_disconnected()
                patient_until = loop.time()
            self.state = SubscriberState.WAITING
            if loop.time() < patient_until:
                failures = 0
                await self._pause(self._delay(1))
                continue
            await self._pause(self._delay(failures))
            index = (index + 1) % len(self.upstreams)

    def nudge(self) -> None:
        """Somebody knows that an upstream is back: one that waits for its turn need not."""
        self._nudged.set()

    async def _pause(self, delay: float) -> None:
        self._nudged.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await self._nudged.wait()

    def _delay(self, failures: int) -> float:
        """How long to wait before the next try, in s, after so many failed connections in a row."""
        if failures == 0:
            return self._chance.uniform(0, self.settings.reconnect_spread)
        ceiling = self.settings.backoff_initial * 2.0 ** min(failures - 1, 30)
        return self._chance.uniform(0, min(ceiling, self.settings.backoff_max))

    async def _follow(self, index: int) -> tuple[int, CallError, bool]:
        """Follow an upstream, or the better one we moved to meanwhile, to its end.

        Returns the last one's index, how it ended, and whether it had been established.
        """
        stream = _Stream(self, index)
        try:
            while True:
                better = asyncio.create_task(
                    self._find_better(stream), name="find a better upstream"
                )
                try:
                    await asyncio.wait({stream.task, better}, return_when=asyncio.FIRST_COMPLETED)
                    if not better.done():
                        return stream.index, await stream.task, stream.established
                    stream.task.cancel()
                    stream = better.result()
                    self._settle(stream.upstream)
                finally:
                    await _cancelled(better)
        finally:
            await _cancelled(stream.task)

    async def _find_better(self, stream: _Stream) -> _Stream:
        """Wait until a preferred upstream has been well for long enough, and open a stream there."""
        loop = asyncio.get_running_loop()
        well_since: dict[int, float] = {}
        while True:
            await asyncio.sleep(self.settings.return_check)
            if not stream.established:
                continue
            for index in range(stream.index):
                if not await self._client.ready(
                    self.upstreams[index], self.settings.connect_timeout
                ):
                    well_since.pop(index, None)
                    continue
                since = well_since.setdefault(index, loop.time())
                if loop.time() - since >= self.settings.return_hold:
                    del well_since[index]
                    if moved := await self._move(index):
                        return moved
                break  # the best that is well is the one to wait for

    async def _move(self, index: int) -> _Stream | None:
        """A second stream, established, or None when that upstream fails after all."""
        await asyncio.sleep(self._chance.uniform(0, self.settings.reconnect_spread))
        stream = _Stream(self, index)
        try:
            await stream.settled.wait()
        except asyncio.CancelledError:
            await _cancelled(stream.task)
            raise
        return None if stream.task.done() else stream

    def _begin(self, upstream: Upstream) -> None:
        if self.state is SubscriberState.CONNECTED:
            return
        failed, self._left = self._left, None
        self._settle(upstream)
        self._on_connected()
        if failed is not None and failed != upstream:
            self.failovers += 1
            name = "HUB_FAILOVER" if failed.role == "hub" else "STREAM_FAILOVER"
            self._alert(name, {"failed": failed.to, "to": upstream.to, "to_role": upstream.role})

    def _settle(self, upstream: Upstream) -> None:
        self.state = SubscriberState.CONNECTED
        self.upstream = upstream
        self.error = None

    async def _read(self, stream: _Stream) -> CallError:
        """Read one upstream's stream to its end; resynchronise at gaps. Returns why it ended."""
        while stream.gaps <= GAPS_TOLERATED:
            try:
                await self._read_once(stream)
            except CallError as error:
                return error
            except _Gap:
                stream.gaps += 1
                self.resyncs += 1
                self._resync = True
        return CallError(INVALID, f"{stream.upstream} has gaps that a snapshot doesn't fill")

    async def _read_once(self, stream: _Stream) -> None:
        last_id = self.sink.seq if self.sink.loaded and not self._resync else None
        opened = self._client.open(stream.upstream, last_id, self.settings.connect_timeout)
        parser = sse.Parser()
        async with opened as chunks:
            while chunk := await self._next(chunks):
                for event in parser.feed(chunk):
                    message = sse.decode(event, raw=self._raw)
                    if message is not None:
                        self._take(message, stream)
        raise CallError(CONNECTION_RESET, f"{stream.upstream} ended the stream")

    async def _next(self, chunks: AsyncIterator[bytes]) -> bytes | None:
        """The next bytes; None at the end. Raises `CallError` TIMEOUT after `heartbeat_timeout` s of silence."""
        silence = self.settings.heartbeat_timeout
        try:
            async with asyncio.timeout(silence):
                return await anext(chunks, None)
        except TimeoutError:
            raise CallError(TIMEOUT, f"{silence} s of silence") from None

    def _take(self, message: sse.Message, stream: _Stream) -> None:
        """Bring the message into the sink. Raises `_Gap`, and `CallError` INVALID for data that can't be true."""
        match message:
            case Prewarm():
                self._on_prewarm(message)
                return  # beside the log: it shows nothing of a stream that is to be established
            case Snapshot():
                if not message.orgs and not self.sink.empty:
                    raise CallError(INVALID, "an empty snapshot where we know organisations")
                self.sink.replace(message)
                self._resync = False
            case Change() if message.seq > self.sink.seq:
                if not self.sink.apply(message):
                    raise _Gap
            case Heartbeat():
                if message.seq > self.sink.seq:
                    raise _Gap
                stream.gaps = 0
                self._on_beat(stream.upstream, message)
            case _:
                pass  # old news
        if not stream.established:
            stream.established = True
            stream.settled.set()
            self._begin(stream.upstream)


class _Stream:
    """One stream that is being read. `settled`: it is established, or has ended. The task's result is why it ended."""

    def __init__(self, subscriber: Subscriber, index: int) -> None:
        self.index = index
        self.upstream = subscriber.upstreams[index]
        self.established = False
        self.settled = asyncio.Event()
        self.gaps = 0  # in a row
        self.task = asyncio.create_task(
            subscriber._read(self),  # noqa: SLF001 - the two are one
            name=f"stream of {self.upstream.to}",
        )
        self.task.add_done_callback(lambda _: self.settled.set())

    def __repr__(self) -> str:
        return f"<_Stream {self.upstream.to} {'up' if self.established else 'opening'}>"


async def _cancelled(task: asyncio.Task[Any]) -> None:
    """End a task and wait for it; its result no longer matters."""
    task.cancel()
    await asyncio.wait({task})
