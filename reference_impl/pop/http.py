"""A small, fast HTTP/1.1 server for the data path: `asyncio.Protocol` and httptools, made for uvloop.

A handler gives for the head of a request an endpoint; the endpoint answers a body, at once with the bytes of a complete
response, or *later*, by returning a coroutine function that the server runs as a task with a `ResponseWriter`. Answers leave in the order of the
requests (pipelining); while one is outstanding, the requests behind it wait in a bounded queue.

A client on a connection that it keeps repeats itself: its heads are the same bytes but for the length of the body.
Heads are remembered with their endpoints, and a request that comes whole with a known head is not parsed again. Where the
compiled reader of heads is there (`head.py`), what differs in a head and matters to nobody doesn't matter either.

There is one timer per server, none per request: a sweep closes each connection that has completed no request for
`Limits.idle` seconds, be it idle or dribbling.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections import deque
from dataclasses import dataclass
from enum import Enum
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, NamedTuple

import httptools

from reference_impl.pop.head import COMPILED, read_key, scan
from reference_impl.pop.response import (
    JSON,
    SSE,
    Answer,
    Endpoint,
    Handler,
    Headers,
    Later,
    ResponseWriter,
    head_only,
    refusal,
    response,
    with_connection,
)

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "JSON",
    "SSE",
    "Answer",
    "Endpoint",
    "Handler",
    "Headers",
    "HttpServer",
    "Later",
    "Limits",
    "ResponseWriter",
    "bind",
    "refusal",
    "response",
]

_log = logging.getLogger(__name__)

# Sweeps in one idle time: a connection is closed at most a quarter of that time late.
SWEEPS: Final = 4
# Heads that are remembered per server; above it all are parsed anew. About 3 MB.
KNOWN_HEADS: Final = 4096
# After so many unknown heads in a row (as with trace ids), a connection's heads are no longer looked up.
UNKNOWN_HEADS: Final = 64


@dataclass(frozen=True, slots=True)
class Limits:
    """What a connection may use: sizes in bytes, times in seconds."""

    head: int = 16 * 1024
    body: int = 1024 * 1024
    pipeline: int = 64  # requests that may wait behind an outstanding answer before reading stops
    write_buffer: int = 64 * 1024  # answers not yet taken by the client before reading stops
    connections: int = 20_000
    idle: float = 75.0
    stall: float = 10.0  # how long a stream waits for a client that does not read


class Style(Enum):
    """How an answer is sent."""

    PLAIN = "as it is"
    CLOSE = "then hang up"
    OLD = "HTTP/1.0 with keep-alive"


_PLAIN: Final = Style.PLAIN


class Request(NamedTuple):
    """A request that was read."""

    method: bytes
    target: bytes
    headers: Headers
    body: bytes
    style: Style


class KnownHead(NamedTuple):
    """What a request with a remembered head leads to, and the length of its body. Answers are plain."""

    endpoint: Endpoint
    length: int


def _failed(_: bytes) -> Answer:
    return refusal(HTTPStatus.INTERNAL_SERVER_ERROR)


_UNKNOWN: Final = KnownHead(_failed, -1)


class Connection(asyncio.Protocol):
    """One client connection."""

    def __init__(self, server: HttpServer) -> None:
        self.peer = "?"
        self.ticks = 0  # sweeps since the last completed request
        self._server = server
        self._limits = server.limits
        self._route = server.handler.route
        self._known_heads = server.known_heads
        self._quick = server.quick if COMPILED else b""
        self._quick_heads = server.quick_heads
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport
        self._write: Callable[[bytes], None]
        self._unknown = 0  # heads in a row that were not known
        # the request being read
        self._target = self._body = b""
        self._headers: dict[bytes, bytes] = {}
        self._pieces: list[bytes] = []  # of a body that comes in several parts, all but the first
        self._body_size = self._head_size = 0
        self._head_done = False
        self._between = True  # no request is partly read
        self._learn = (
            b""  # the head that the data being parsed begins with, if it may be remembered
        )
        self._fed = 0  # size of the data being parsed
        self._completed = False  # a request ended in the data being parsed
        self._suspect = False  # that data makes it possible that a head is too large
        # answering
        self._closing = False  # nothing more is read; what is outstanding is still answered
        self.leaving = server.leaving  # the next answer is the last
        self._lost = False  # the client is gone
        self._paused = False  # the client does not take its answers
        self._blocked = False  # paused, or an answer is outstanding
        self._task: asyncio.Task[None] | None = None
        self._writer: ResponseWriter | None = None
        self._drained = asyncio.Event()
        self._waiting: deque[Request] = deque()

    def __repr__(self) -> str:
        state = "answering" if self._task else "paused" if self._paused else "ready"
        closing = " closing" if self._closing else ""
        return f"<Connection {self.peer} {state}{closing}, {len(self._waiting)} waiting>"

    # -- the transport's side ----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # uvloop's is no asyncio.Transport
        self._write = self._transport.write
        self._transport.set_write_buffer_limits(high=self._limits.write_buffer)
        address = transport.get_extra_info("peername")
        self.peer = address[0] if isinstance(address, tuple) else "?"
        if not self._server.admit(self):
            self._closing = True
            self._transport.write(
                with_connection(refusal(HTTPStatus.SERVICE_UNAVAILABLE), b"close")
            )
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._closing = self._lost = True
        self._waiting.clear()
        if self._task is None:
            self._server.forget(self)
        else:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        if self._quick and self._between and not self._blocked and len(data) <= self._limits.head:
            found = scan(data, self._quick)
            if found is not None:
                key, body = found
                self.ticks = 0
                self._answer(self._quick_heads.get(key) or self._route_quick(key), body, _PLAIN)
                return
        if self._between and not self._blocked and self._unknown < UNKNOWN_HEADS:
            end = data.find(b"\r\n\r\n") + 4
            head = data[:end]
            endpoint, length = self._known_heads.get(head, _UNKNOWN)
            if length == len(data) - end:
                self.ticks = self._unknown = 0
                self._answer(endpoint, data[end:], _PLAIN)
                return
            self._unknown += 1
            self._learn = head  # if it proves to be a whole request
        self._parse(data)
        self._learn = b""

    def _parse(self, data: bytes) -> None:
        self._fed = len(data)
        self._completed = False
        self._suspect = self._head_size + len(data) > self._limits.head
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.close_soon()  # answered as plain HTTP; what follows is not HTTP
        except httptools.HttpParserError:
            self._refuse(HTTPStatus.BAD_REQUEST)
        else:
            if not self._between:
                self._await_rest(len(data))

    def eof_received(self) -> bool:
        """A half-closed client still gets its outstanding answers, but no stream, which would never end."""
        self.close_soon()
        self.end_stream()
        return True

    def pause_writing(self) -> None:
        self._paused = self._blocked = True
        self._drained.clear()
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._paused = False
        self._drained.set()
        self._unblock()

    # -- the parser's side -------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._between = False

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        self._head_done = True
        if self._suspect:  # that much came, perhaps with a body: look exactly
            size = len(self._target) + sum(len(n) + len(v) + 4 for n, v in self._headers.items())
            if size > self._limits.head:
                self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def on_body(self, body: bytes) -> None:
        self._body_size += len(body)
        if self._body_size > self._limits.body:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        elif self._body:
            self._pieces.append(body)
        else:
            self._body = body

    def on_message_complete(self) -> None:
        self._between = self._completed = True
        if self._closing:
            return
        target, headers, body = self._target, self._headers, self._body
        if self._pieces:
            body += b"".join(self._pieces)
            self._pieces = []
        self._target = self._body = b""
        self._headers = {}
        self._body_size = self._head_size = self.ticks = 0
        self._head_done = False
        style = Style.PLAIN
        if not self._parser.should_keep_alive():
            style = Style.CLOSE
        elif b"connection" in headers and self._parser.get_http_version() == "1.0":
            style = Style.OLD
        request = Request(self._parser.get_method(), target, headers, body, style)
        if self._blocked:
            self._waiting.append(request)
            if len(self._waiting) >= self._limits.pipeline:
                self._transport.pause_reading()
        else:
            self._serve(request)

    def _await_rest(self, fed: int) -> None:
        """After data that ended within a request: the limits, and the client that asks before it sends its body."""
        if not self._head_done:
            self._head_size += 0 if self._completed else fed  # else most was another request's
            if self._head_size > self._limits.head:
                self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
            return
        length = self._headers.get(b"content-length", b"")
        if length.isdigit() and int(length) > self._limits.body:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        elif self._headers.pop(b"expect", b"").lower() == b"100-continue" and not self._blocked:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    # -- answering ---------------------------------------------------------------------------------------------------

    def _serve(self, request: Request) -> None:
        method, target, headers, body, style = request
        try:
            endpoint = self._route(method, target, headers)
        except Exception:  # noqa: BLE001 - one bad request must not end the server
            _log.exception("no answer to %r %r", method, target)
            endpoint = _failed
        if method == b"HEAD":
            endpoint = partial(_answer_head, endpoint)
        elif self._learn and style is Style.PLAIN and len(self._learn) + len(body) == self._fed:
            self._remember(endpoint, len(body), chunked=b"transfer-encoding" in headers)
        self._answer(endpoint, body, style)

    def _route_quick(self, key: bytes) -> Endpoint:
        """The endpoint for what `scan` found in a head; remembered."""
        target, headers = read_key(key)
        try:
            endpoint = self._route(b"POST", target, headers)
        except Exception:  # noqa: BLE001 - one bad request must not end the server
            _log.exception("no answer to POST %r", target)
            return _failed
        if len(self._quick_heads) >= KNOWN_HEADS:
            self._quick_heads.clear()
        self._quick_heads[key] = endpoint
        return endpoint

    def _remember(self, endpoint: Endpoint, length: int, *, chunked: bool) -> None:
        if chunked:
            return
        if len(self._known_heads) >= KNOWN_HEADS:
            self._known_heads.clear()
        self._known_heads[self._learn] = KnownHead(endpoint, length)

    def _answer(self, endpoint: Endpoint, body: bytes, style: Style) -> None:
        try:
            answer = endpoint(body)
        except Exception:  # noqa: BLE001 - one bad request must not end the server
            _log.exception("no answer from %r", endpoint)
            answer = _failed(body)
        if not isinstance(answer, bytes):
            self._answer_later(answer, keep_alive=style is not Style.CLOSE and not self.leaving)
        elif style is _PLAIN and not self.leaving:
            self._write(answer)
        elif style is Style.OLD and not self.leaving:
            self._write(with_connection(answer, b"keep-alive"))
        else:
            self._closing = True
            self._write(with_connection(answer, b"close"))
            self._transport.close()

    def _answer_later(self, later: Later, *, keep_alive: bool) -> None:
        self._blocked = True
        self._writer = ResponseWriter(self, keep_alive=keep_alive)
        self._task = self._server.loop.create_task(self._run(later, self._writer))

    async def _run(self, later: Later, writer: ResponseWriter) -> None:
        reusable = False
        try:
            await later(writer)
            reusable = writer.end()
            if writer.status == "unanswered":
                raise RuntimeError(f"{later!r} ended without an answer")  # noqa: TRY301 - as any other failure
        except ConnectionError as gone:
            _log.debug("%r: %s", self, gone)
        except Exception:  # noqa: BLE001 - one bad request must not end the server
            _log.exception("no answer from %r", later)
            if writer.status == "unanswered":
                failure = refusal(HTTPStatus.INTERNAL_SERVER_ERROR)
                self._transport.write(with_connection(failure, b"close"))
        finally:
            self._task = self._writer = None
            self.ticks = 0
            if self._lost:
                self._server.forget(self)
            elif reusable:
                self._unblock()
            else:
                self._closing = True
                self._transport.close()

    def _unblock(self) -> None:
        """Answer what waits, as far as that goes; then read on."""
        if self._task is not None or self._paused:
            return
        self._blocked = False
        while self._waiting and not self._blocked and not self._transport.is_closing():
            self._serve(self._waiting.popleft())
        if self._blocked or self._transport.is_closing():
            return
        if self._closing:
            self._transport.close()
        else:
            self._transport.resume_reading()

    def write(self, data: bytes) -> None:
        """Queue bytes to the client."""
        self._transport.write(data)

    async def drain(self) -> None:
        """Wait until the client has taken enough; raises `ConnectionError` if it is gone or stalls too long."""
        if self._transport.is_closing():
            raise ConnectionResetError(f"{self.peer} is gone")
        if not self._paused:
            return
        try:
            async with asyncio.timeout(self._limits.stall):
                await self._drained.wait()
        except TimeoutError:
            self._transport.abort()
            raise ConnectionAbortedError(
                f"{self.peer} has not read for {self._limits.stall} s"
            ) from None

    # -- ending ------------------------------------------------------------------------------------------------------

    def _refuse(self, status: HTTPStatus) -> None:
        """Answer with an error and hang up.

        Only our half is closed at once: closing a socket with unread data makes a reset, which can destroy the answer
        before the client reads it. What still comes is thrown away until the client hangs up, or the sweep does.
        """
        if self._blocked:
            self.close_soon()
            return
        self._closing = True
        self._transport.write(with_connection(refusal(status), b"close"))
        self._transport.write_eof()

    def close_soon(self) -> None:
        """Read no more; hang up once everything outstanding is answered."""
        self._closing = True
        if self._task is None and not self._waiting:
            self._transport.close()

    def end_stream(self) -> None:
        """Cut a stream, which would never end by itself."""
        if self._task is not None and self._writer is not None and self._writer.streaming:
            self._task.cancel()

    def abort(self) -> None:
        """Hang up now."""
        self._transport.abort()

    def sweep(self) -> None:
        """Called `SWEEPS` times in an idle time: hang up when no request was completed for that long."""
        if self._task is not None:
            return  # a client that does not read its answer is found by `drain`
        self.ticks += 1
        if self._closing and self.ticks > 1:
            self._transport.abort()
        elif self.ticks > SWEEPS:
            if not self._between:
                self._refuse(HTTPStatus.REQUEST_TIMEOUT)
            elif self._paused:
                self._transport.abort()
            else:
                self._transport.close()


def _answer_head(endpoint: Endpoint, body: bytes) -> Answer:
    """To HEAD, the answer to GET without its body; what is written over time cannot be had so."""
    answer = endpoint(body)
    return head_only(
        answer if isinstance(answer, bytes) else refusal(HTTPStatus.METHOD_NOT_ALLOWED)
    )


def bind(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A socket bound to `host` and `port` (0: any); `shared` lets other processes bind it too (SO_REUSEPORT).

    Raises `OSError` if the address cannot be had.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    return listener


class HttpServer:
    """Serves one handler on one address.

    `quick`: where a target begins with this, the handler looks at no header of a POST but X-Org-Id and If-None-Match.
    """

    def __init__(
        self, handler: Handler, *, limits: Limits | None = None, quick: bytes = b""
    ) -> None:
        self.handler = handler
        self.limits = limits or Limits()
        self.quick = quick
        self.quick_heads: dict[bytes, Endpoint] = {}
        self.known_heads: dict[bytes, KnownHead] = {}
        self.leaving = False  # each answer is its connection's last
        self.loop: asyncio.AbstractEventLoop
        self._server: asyncio.Server | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._connections: set[Connection] = set()
        self._empty = asyncio.Event()
        self._empty.set()

    def __repr__(self) -> str:
        state = "listening" if self._server else "closed"
        return f"<HttpServer {state}, {len(self._connections)} connections>"

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._connections)

    @property
    def port(self) -> int:
        """The port it listens on. Raises `RuntimeError` when it does not."""
        if self._server is None:
            raise RuntimeError("the server is not listening")
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def start(self, listener: socket.socket) -> None:
        """Accept from a bound socket, which several processes may share. Raises `OSError` when that fails."""
        self.loop = asyncio.get_running_loop()
        self._server = await self.loop.create_server(
            lambda: Connection(self), sock=listener, backlog=1024
        )
        self._timer = self.loop.call_later(self.limits.idle / SWEEPS, self._sweep)

    async def close(self, grace: float = 5.0) -> None:
        """Accept no more, cut streams, give outstanding answers `grace` seconds, then hang up."""
        if self._server is None or self._timer is None:
            return
        self._server.close()
        self._timer.cancel()
        self._server = self._timer = None
        for connection in list(self._connections):
            connection.close_soon()
            connection.end_stream()
        try:
            async with asyncio.timeout(grace):
                await self._empty.wait()
        except TimeoutError:
            for connection in list(self._connections):
                connection.abort()
            await self._empty.wait()

    def retire(self, chosen: Callable[[], bool]) -> None:
        """Let each connection that is `chosen` be closed with its next answer, so that its client comes again elsewhere."""
        for connection in self._connections:
            connection.leaving = connection.leaving or chosen()

    async def leave(self, linger: float, within: float) -> None:
        """Answer on, on each connection once more, until nobody is connected, for `within` s at most; `close` comes next.

        Connections are accepted for `linger` s: those that were on their way. Streams are cut at once.
        """
        self.leaving = True
        self.retire(lambda: True)
        for connection in list(self._connections):
            connection.end_stream()
        await asyncio.sleep(linger)
        if self._server is not None:
            self._server.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._empty.wait()

    def admit(self, connection: Connection) -> bool:
        """Count a new connection in; false if there are too many, or the server is closing."""
        self._connections.add(connection)
        self._empty.clear()
        return self._server is not None and len(self._connections) <= self.limits.connections

    def forget(self, connection: Connection) -> None:
        """Count a lost connection out."""
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()

    def _sweep(self) -> None:
        self._timer = self.loop.call_later(self.limits.idle / SWEEPS, self._sweep)
        for connection in list(self._connections):
            connection.sweep()
