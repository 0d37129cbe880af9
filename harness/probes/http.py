"""A small HTTP/1.1 client for measuring: keep-alive, precise times, a source address of one's own, no hidden retries.

Every outside exception is mapped here, once, to the error classes of the history (`harness.history.Complete.error`).
IPv4 only, no TLS, no redirects, no compression: it talks to nodes of a cluster on this machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections import deque
from typing import TYPE_CHECKING, Self, cast

import httptools
import msgspec

from harness.errors import RuntimeFailure
from harness.units import now_ns

if TYPE_CHECKING:
    from collections.abc import Mapping

TIMEOUT = "TIMEOUT"
CONNECTION_REFUSED = "CONNECTION_REFUSED"
CONNECTION_RESET = "CONNECTION_RESET"
CONNECTION_CLOSED = "CONNECTION_CLOSED"
SERVICE_UNAVAILABLE = "SERVICE_UNAVAILABLE"
INVALID = "INVALID"
UNRESOLVED = "UNRESOLVED"  # a name without an address (harness/probes/named.py)

# Lets the kernel choose the source port at connect, by destination: a bound socket would use up ports four times over.
_IP_BIND_ADDRESS_NO_PORT = 24
_MAX_HEADERS = 200
_MAX_BODY = 256 << 20
_STREAM_HIGH_WATER = (
    4 << 20
)  # bytes of a stream not yet read, above which the socket is no longer read
_CLOSE_WITHIN_S = 1.0
# The generator's own limits: saying that the platform failed would be a lie.
_OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.EACCES})


class HttpFailure(Exception):  # noqa: N818 - it is the exchange that failed, as the platform's users would see it
    """A request without an answer. `error` is one of the history's classes.

    `sent` False: certainly no byte of the request has left, so it was certainly not done.
    `at`: when it was known, ns on the monotonic clock.
    """

    def __init__(self, error: str, *, sent: bool, at: int | None = None) -> None:
        super().__init__(error)
        self.error = error
        self.sent = sent
        self.at = now_ns() if at is None else at

    def __repr__(self) -> str:
        return f"HttpFailure({self.error}, sent={self.sent})"


class Response(msgspec.Struct, frozen=True):
    """An answer. `end` is when its last byte came, ns on the monotonic clock; header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes
    end: int

    @property
    def error(self) -> str:
        return error_of(self.status)


class Chunk(msgspec.Struct, frozen=True):
    """A piece of a stream and when it came, ns on the monotonic clock."""

    t: int
    data: bytes


def error_of(status: int) -> str:
    """The history's class of a status: "" for 2xx, "SERVICE_UNAVAILABLE" for 503, else "HTTP_<status>"."""
    if 200 <= status < 300:  # noqa: PLR2004 - the range of success
        return ""
    return SERVICE_UNAVAILABLE if status == 503 else f"HTTP_{status}"  # noqa: PLR2004 - as RFC 9110 names it


def _class_of(error: BaseException | None) -> str:
    match error:
        case None:
            return CONNECTION_CLOSED
        case ConnectionRefusedError():
            return CONNECTION_REFUSED
        case TimeoutError():
            return TIMEOUT
        case OSError(errno=errno.EHOSTUNREACH | errno.ENETUNREACH | errno.EHOSTDOWN):
            return CONNECTION_REFUSED  # no way there: like a refusal, and nothing was sent
        case _:
            return CONNECTION_RESET


class _Connection(asyncio.Protocol):
    """One TCP connection: at most one exchange at a time, or one endless stream."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._loop = client.loop
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._answer: asyncio.Future[Response | None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._exchanges = 0
        self.lost: asyncio.Future[None] | None = None
        self.closed = False
        self._lost_error = CONNECTION_CLOSED
        self._reset()
        # A stream's state; `streaming` keeps the body from being collected.
        self.streaming = False
        self.chunks: deque[Chunk] = deque()
        self._pending_bytes = 0
        self._reading = True
        self._wake: asyncio.Future[None] | None = None
        self.ended_by: HttpFailure | None = None

    def __repr__(self) -> str:
        state = "closed" if self.closed else "busy" if self._answer else "idle"
        return f"<_Connection to {self._client.host}:{self._client.port} {state}, {self._exchanges} exchanges>"

    def _reset(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._size = 0
        self._headers_done = False

    # ------------------------------------------------------------------------------------------- what the client calls

    def send(self, request: bytes, timeout: float) -> asyncio.Future[Response | None]:
        """The answer; None where this is a stream and its headers have come. Ends by itself after `timeout` s."""
        if self.closed:  # the other side was quicker
            raise HttpFailure(self._lost_error, sent=False)
        assert self._transport is not None
        assert self._answer is None
        self._reset()
        self._exchanges += 1
        answer: asyncio.Future[Response | None] = self._loop.create_future()
        self._answer = answer
        self._timer = self._loop.call_later(timeout, self._expire, answer)
        self._transport.write(request)
        return answer

    def abort(self) -> None:
        self.closed = True
        if self._transport is not None:
            self._transport.abort()

    async def next_chunk(self, timeout: float) -> Chunk:  # noqa: ASYNC109 - its expiry is an HttpFailure
        if not self.chunks:
            if self.ended_by is not None:
                raise self.ended_by
            self._wake = self._loop.create_future()
            try:
                async with asyncio.timeout(timeout):
                    await self._wake
            except TimeoutError:
                raise HttpFailure(TIMEOUT, sent=True) from None
            finally:
                self._wake = None
            if not self.chunks:
                assert self.ended_by is not None
                raise self.ended_by
        chunk = self.chunks.popleft()
        self._pending_bytes -= len(chunk.data)
        if not self._reading and self._pending_bytes < _STREAM_HIGH_WATER and not self.closed:
            assert self._transport is not None
            self._reading = True
            self._transport.resume_reading()
        return chunk

    # -------------------------------------------------------------------------------------------------- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not an isinstance check: uvloop's transports don't inherit from asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._answer is None and not self.streaming:
            self.abort()  # nobody asked: what would come next could not be told apart
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, ValueError):
            self._end(INVALID)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._lost_error = _class_of(exc)
        self._client.forget(self)
        if self.lost is not None and not self.lost.done():
            self.lost.set_result(None)
        if exc is None and self._answer is not None and self._ends_with_connection():
            self._complete()
            return
        self._end(_class_of(exc))

    # ----------------------------------------------------------------------------------------------- httptools callbacks

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(self.headers) >= _MAX_HEADERS:
            raise ValueError("too many headers")
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        self._headers_done = True
        if self.streaming and self.status >= 200:  # noqa: PLR2004 - not 1xx
            answer = self._settle()
            if answer is not None:
                answer.set_result(None)

    def on_body(self, body: bytes) -> None:
        if not self.streaming:
            self._size += len(body)
            if self._size > _MAX_BODY:
                raise ValueError("body too large")
            self._body.append(body)
            return
        self.chunks.append(Chunk(now_ns(), body))
        self._pending_bytes += len(body)
        if self._reading and self._pending_bytes >= _STREAM_HIGH_WATER:
            assert self._transport is not None
            self._reading = False
            self._transport.pause_reading()
        self._notify()

    def on_message_complete(self) -> None:
        if self.streaming:
            self._end(CONNECTION_CLOSED)
        elif self.status < 200:  # noqa: PLR2004 - 1xx: the answer is still to come
            self._reset()
        else:
            self._complete()

    # ------------------------------------------------------------------------------------------------------------ endings

    def _ends_with_connection(self) -> bool:
        framed = "content-length" in self.headers or "transfer-encoding" in self.headers
        return self._headers_done and not framed

    def _complete(self) -> None:
        end = now_ns()
        answer = self._settle()
        if answer is None:
            return
        answer.set_result(Response(self.status, self.headers, b"".join(self._body), end))
        if not self.closed and self._parser.should_keep_alive():
            self._client.park(self)
        else:
            self.abort()

    def _settle(self) -> asyncio.Future[Response | None] | None:
        """The answer that someone still waits for, which is now to be given; None where nobody does."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        answer, self._answer = self._answer, None
        return None if answer is None or answer.done() else answer

    def _expire(self, answer: asyncio.Future[Response | None]) -> None:
        if not answer.done():
            self._end(TIMEOUT)

    def _end(self, error: str) -> None:
        failure = HttpFailure(error, sent=True)
        answer = self._settle()
        self.ended_by = self.ended_by or failure
        if answer is not None:
            answer.set_exception(failure)
        self._notify()
        if not self.closed:
            self.abort()

    def _notify(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)


class Stream:
    """An answer whose body is read piece by piece, as it comes."""

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection
        self.status = connection.status
        self.headers = connection.headers

    @property
    def error(self) -> str:
        return error_of(self.status)

    def __repr__(self) -> str:
        return f"<Stream {self.status} {self._connection!r}>"

    async def read(self, timeout: float) -> Chunk:  # noqa: ASYNC109 - its expiry is an HttpFailure
        """The next piece; raises HttpFailure when none comes for `timeout` s or the stream has ended."""
        return await self._connection.next_chunk(timeout)

    def close(self) -> None:
        self._connection.abort()


class Client:
    """Requests to one address, from one source address (`source` "": the system's choice).

    Idle connections are reused, the last used first; broken ones are dropped, and so is each after its answer without `keep_alive`. A request is dispatched once: it is for
    the caller to try again. Use as an async context manager, or `close` it.
    """

    def __init__(
        self, host: str, port: int, *, source: str = "", name: str = "", keep_alive: bool = True
    ) -> None:
        """`name`: by which the host was found, for the header of that name."""
        self.host = host
        self.keep_alive = keep_alive
        self.port = port
        self.source = source
        self.loop = asyncio.get_running_loop()
        self._idle: list[_Connection] = []
        self._all: set[_Connection] = set()
        self._host_line = f" HTTP/1.1\r\nHost: {name or host}:{port}\r\n"

    def __repr__(self) -> str:
        source = f" from {self.source}" if self.source else ""
        return (
            f"<Client {self.host}:{self.port}{source} idle={len(self._idle)} open={len(self._all)}>"
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def request(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        timeout: float = 1.0,  # noqa: ASYNC109 - one timer for connecting and answering is cheaper than a scope
        fresh: bool = False,
    ) -> Response:
        """Send once and wait for the whole answer, whatever its status. `timeout` in s, connecting included.

        `fresh`: on a new connection. Raises HttpFailure without an answer, RuntimeFailure when this machine's own
        limits (descriptors, ports, source address) kept it from being sent.
        """
        head = self._head(method, path, headers, len(body))
        connection = None if fresh else self._take()
        if connection is None:
            started = self.loop.time()
            connection = await self._connect(timeout)
            timeout = max(0.0, timeout - (self.loop.time() - started))
        answer = connection.send(head + body, timeout)
        try:
            response = await answer
        except asyncio.CancelledError:
            connection.abort()
            raise
        assert response is not None
        return response

    async def stream(
        self,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        timeout: float = 1.0,  # noqa: ASYNC109 - as in `request`
    ) -> Stream:
        """GET on a new connection; returns once the answer's headers came, within `timeout` s. Raises as `request`."""
        connection = await self._connect(timeout)
        connection.streaming = True
        answer = connection.send(self._head("GET", path, headers, 0), timeout)
        try:
            await answer
        except asyncio.CancelledError:
            connection.abort()
            raise
        return Stream(connection)

    def drop_idle(self) -> None:
        """Close the connections that nobody uses now."""
        while (connection := self._take()) is not None:
            connection.abort()

    async def close(self) -> None:
        """Drop all connections, also those in use, and wait until they are gone."""
        self._idle.clear()
        waits = []
        for connection in list(self._all):
            connection.lost = self.loop.create_future()
            waits.append(connection.lost)
            connection.abort()
        if waits:
            await asyncio.wait(waits, timeout=_CLOSE_WITHIN_S)

    # ----------------------------------------------------------------------------------------------- for connections only

    def park(self, connection: _Connection) -> None:
        if self.keep_alive:
            self._idle.append(connection)
        else:
            connection.abort()

    def forget(self, connection: _Connection) -> None:
        self._all.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    # ----------------------------------------------------------------------------------------------------------- internals

    def _take(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if not connection.closed:
                return connection
        return None

    def _head(
        self, method: str, path: str, headers: Mapping[str, str] | None, length: int
    ) -> bytes:
        lines = "".join([f"{k}: {v}\r\n" for k, v in headers.items()]) if headers else ""
        size = f"Content-Length: {length}\r\n" if length or method != "GET" else ""
        return f"{method} {path}{self._host_line}{lines}{size}\r\n".encode("latin-1")

    async def _connect(self, timeout: float) -> _Connection:  # noqa: ASYNC109 - as in `request`
        sock: socket.socket | None = None
        connection = _Connection(self)
        try:
            sock = self._socket()
            async with asyncio.timeout(timeout):
                await self.loop.sock_connect(sock, (self.host, self.port))
                await self.loop.create_connection(lambda: connection, sock=sock)
        except OSError as error:
            if sock is not None:
                sock.close()
            if error.errno in _OURS:
                raise RuntimeFailure(
                    f"can't connect from {self.source or 'this machine'} to {self.host}:{self.port}: {error}"
                ) from error
            raise HttpFailure(_class_of(error), sent=False) from error
        except asyncio.CancelledError:
            if sock is not None:
                sock.close()
            connection.abort()
            raise
        self._all.add(connection)
        return connection

    def _socket(self) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.source:
                with contextlib.suppress(OSError):  # an older kernel: it only costs ports
                    sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
                sock.bind((self.source, 0))
        except OSError:
            sock.close()
            raise
        return sock
