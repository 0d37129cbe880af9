"""A recording proxy for one link: HTTP/1.1 passes through byte by byte, and each exchange becomes a `Wire` event.

It runs in the engine's process, behind the link's toxiproxy and in front of the node. What it promises:

* Bytes are not changed, and not held: streams (SSE) go through as they come, with back-pressure both ways. The only
  bytes that wait are those of a request's head, because a script may want to answer it.
* Times are when bytes were seen here, in ns since `origin_ns`. A `Wire` is written when the exchange ends, before the
  caller gets its last byte. A ``text/event-stream`` answer may never end, so its one `Wire` is written when its head
  is seen, with ``end=0``.
* A caller that closes its sending side counts as gone, as in every HTTP server.
* Requests that are pipelined behind an unanswered one are passed on and recorded, never scripted.
* A node that can't be reached makes an RST here; so do the scripted resets. Toxiproxy turns an RST into a normal close
  on its way to the caller unless the link has `harness.network.toxiproxy.CARRY_RESETS`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING, Any

from harness.history import Note
from harness.network.exchange import Exchange, Requests, Responses
from harness.network.script import Kind, Play, Script
from harness.network.sockets import reset
from harness.runtime.base import Address
from harness.units import now_ns

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from harness.history import Event
    from harness.network.script import Answer, Rule

_CHUNK = 65536
_CONNECT_WITHIN = 10.0  # s; loopback refuses at once, only a full backlog makes one wait


class Wiretap:
    """`listen` port 0 takes a free one; `address` says where it listens. Use from one event loop."""

    def __init__(
        self,
        link: str,
        listen: Address,
        upstream: Address,
        record: Callable[[Event], None],
        origin_ns: int,
        *,
        script: Script | None = None,
    ) -> None:
        self.link = link
        self.address = listen
        self.upstream = upstream
        self.record = record
        self.exchanges = 0
        self.connections = 0
        self._origin = origin_ns
        self._play = Play(script or Script())
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        state = "listening" if self._server else "closed"
        return (
            f"Wiretap({self.link}, {self.address} -> {self.upstream}, {state}, {self.exchanges} exchanges, "
            f"{len(self._open)} of {self.connections} connections open, script: {self._play.script})"
        )

    async def start(self) -> None:
        """Raises OSError when the address is taken."""
        self._server = await asyncio.start_server(
            self._accept, self.address.host, self.address.port, limit=_CHUNK
        )
        self.address = Address(*self._server.sockets[0].getsockname()[:2])

    async def close(self) -> None:
        """Ends all connections; what was under way is recorded. Idempotent."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    def set_script(self, script: Script) -> None:
        """Play this one from now on, with nothing counted yet; the history notes it."""
        self._play = Play(script)
        self.record(Note(t=self.now(), text=f"script: {script}", source=self.link))

    def now(self) -> int:
        return now_ns() - self._origin

    def decide(self, exchange: Exchange) -> Rule | None:
        return self._play.decide(exchange.method, exchange.path)

    def begin(self, connection: int) -> Exchange:
        self.exchanges += 1
        return Exchange(self.exchanges, connection, self.now())

    def finish(self, exchange: Exchange) -> None:
        """Write its `Wire`, once."""
        if not exchange.written:
            exchange.written = True
            self.record(exchange.wire(self.link))

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        connection = _Connection(self, self.connections, reader, writer)
        task = asyncio.ensure_future(connection.run())
        self._open.add(task)
        task.add_done_callback(self._open.discard)
        with contextlib.suppress(asyncio.CancelledError):
            await task


class _Connection:
    """One caller: a task for each way, the node dialled when the first request is passed on."""

    def __init__(
        self, tap: Wiretap, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._tap = tap
        self._reader, self._writer = reader, writer
        self._up: asyncio.StreamWriter | None = None
        self._pending: deque[Exchange] = deque()
        self._requests = Requests(self._pending, lambda: tap.begin(number), tap.now)
        self._responses = Responses(self._pending, tap.finish, tap.now)
        self._ahead = b""  # read from the caller while a delay ran
        self._tasks: list[asyncio.Task[str]] = []
        self._ended = asyncio.Event()

    async def run(self) -> None:
        """Until one side ends it, which says why what is under way has failed."""
        why = "tap-closed"
        self._spawn(self._from_caller())
        try:
            await self._ended.wait()
            why = next(task.result() for task in self._tasks if task.done())
        finally:
            self._end(why)
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _spawn(self, way: Coroutine[Any, Any, str]) -> None:
        task = asyncio.ensure_future(way)
        task.add_done_callback(lambda _task: self._ended.set())
        self._tasks.append(task)

    def _end(self, why: str) -> None:
        for exchange in self._pending:
            exchange.error = exchange.error or why
            exchange.end = exchange.end or self._tap.now()
            self._tap.finish(exchange)
        if self._up is not None:
            self._up.transport.abort()
        if why == "upstream-closed":
            self._writer.close()  # what was read is still sent
        elif why in ("upstream-refused", "upstream-reset", "scripted"):
            reset(self._writer)
        else:
            self._writer.transport.abort()

    # ------------------------------------------------------------------------------------------- from the caller

    async def _from_caller(self) -> str:
        held = b""
        while True:
            data = await self._read()
            if not data:
                return "caller-closed"
            held += data
            self._requests.feed(data)
            if self._requests.in_head and len(held) < _CHUNK:
                continue
            last = self._pending[-1] if self._pending else None
            rule = self._rule(last) if last is not None else None
            if last is None or rule is None:
                why = await self._forward(held)
            elif last.request_end:
                why = await self._play(last, rule, held)
            else:  # an answer comes after the whole request, of which only a later PASS needs the bytes
                held = held if rule.answer.kind is Kind.PASS else b""
                continue
            if why:
                return why
            held = b""

    def _rule(self, exchange: Exchange) -> Rule | None:
        if self._requests.in_head:
            exchange.decided = True  # a head too long to be held goes its way
        elif not exchange.decided:
            exchange.decided = True
            exchange.rule = self._tap.decide(exchange) if len(self._pending) == 1 else None
        return exchange.rule

    async def _read(self) -> bytes:
        data, self._ahead = self._ahead, b""
        if data:
            return data
        try:
            return await self._reader.read(_CHUNK)
        except ConnectionError:
            return b""

    async def _gone(self, within: float | None) -> bool:
        """Whether the caller goes away within that many s (None: wait until it does)."""
        try:
            async with asyncio.timeout(within):
                while data := await self._reader.read(_CHUNK):
                    self._ahead = (self._ahead + data)[:_CHUNK]
        except TimeoutError:
            return False
        except ConnectionError:
            return True
        return True

    async def _play(self, exchange: Exchange, rule: Rule, request: bytes) -> str:
        """Do what the rule says; "" or why that ends the connection."""
        answer = rule.answer
        exchange.scripted = rule.label
        if answer.delay and await self._gone(answer.delay):
            return "caller-closed"
        if answer.kind is Kind.PASS:
            exchange.rule = None
            return await self._forward(request)
        if answer.kind is Kind.HANG:
            await self._gone(None)
            return "caller-closed"
        if answer.kind is not Kind.RESET:
            exchange.status = answer.status
            exchange.response_start = self._tap.now()
        exchange.end = self._tap.now()
        self._pending.remove(exchange)
        self._tap.finish(exchange)
        if answer.kind is not Kind.RESET:
            await self._send(answer)
        return "scripted" if answer.kind in (Kind.RESET, Kind.CUT) else ""

    async def _send(self, answer: Answer) -> None:
        whole = answer.render()
        body = whole.index(b"\r\n\r\n") + 4
        half = body + (len(whole) - body) // 2
        with contextlib.suppress(ConnectionError):
            self._writer.write(whole[:half] if answer.kind is Kind.CUT else whole)
            await self._writer.drain()

    # --------------------------------------------------------------------------------------------- to and from the node

    async def _forward(self, data: bytes) -> str:
        """Send it to the node; "" or why that ends the connection."""
        if self._up is None:
            try:
                async with asyncio.timeout(_CONNECT_WITHIN):
                    reader, self._up = await asyncio.open_connection(
                        self._tap.upstream.host, self._tap.upstream.port, limit=_CHUNK
                    )
            except OSError:
                return "upstream-refused"
            self._spawn(self._from_upstream(reader))
        with contextlib.suppress(ConnectionError):  # the other way sees the same, and says it
            self._up.write(data)
            await self._up.drain()
        return ""

    async def _from_upstream(self, reader: asyncio.StreamReader) -> str:
        while True:
            try:
                data = await reader.read(_CHUNK)
            except ConnectionError:
                return "upstream-reset"
            if not data:
                self._responses.eof()
                return "upstream-closed"
            self._responses.feed(data)
            try:
                self._writer.write(data)
                await self._writer.drain()
            except ConnectionError:
                return "caller-closed"
