"""Responses of the data path: made at once as bytes, or written over time."""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine, Mapping
from http import HTTPStatus
from typing import Any, Protocol, TypeAlias

JSON = b"application/json"
SSE = b"text/event-stream"

Headers: TypeAlias = Mapping[bytes, bytes]  # names in lower case; of repeated headers, the last


def response(
    status: HTTPStatus, body: bytes = b"", content_type: bytes = JSON, extra: bytes = b""
) -> bytes:
    """A complete response. `extra`: further header lines, each ending in CR LF."""
    head = b"HTTP/1.1 %d %b\r\n" % (status, status.phrase.encode())
    if status != HTTPStatus.NOT_MODIFIED:
        head += b"Content-Type: %b\r\nContent-Length: %d\r\n" % (content_type, len(body))
    return b"%b%b\r\n%b" % (head, extra, body)


def refusal(status: HTTPStatus) -> bytes:
    """The response that says in JSON why a request is refused."""
    return response(status, b'{"error":"%b"}' % status.phrase.lower().encode())


def too_many(wait: float) -> bytes:
    """The refusal that says in how many s to come again."""
    extra = b"Retry-After: %d\r\n" % math.ceil(wait)
    return response(HTTPStatus.TOO_MANY_REQUESTS, b'{"error":"too many requests"}', extra=extra)


def head_only(complete: bytes) -> bytes:
    """The same response as an answer to HEAD."""
    return complete[: complete.index(b"\r\n\r\n") + 4]


def with_connection(complete: bytes, token: bytes) -> bytes:
    """The same response with a Connection header."""
    status_line, _, rest = complete.partition(b"\r\n")
    return b"%b\r\nConnection: %b\r\n%b" % (status_line, token, rest)


class Sink(Protocol):
    """Where a `ResponseWriter` writes: a connection."""

    peer: str

    def write(self, data: bytes) -> None:
        """Queue bytes to the client."""
        ...

    async def drain(self) -> None:
        """Wait until the client has taken enough; raises `ConnectionError` if it is gone or stalls too long."""
        ...


class ResponseWriter:
    """Writes one response over time. Every write waits while the client is not reading."""

    __slots__ = ("_keep_alive", "_sink", "status")

    def __init__(self, sink: Sink, *, keep_alive: bool) -> None:
        self._sink = sink
        self._keep_alive = keep_alive
        self.status = "unanswered"  # then "answered", or "streaming" and "ended"

    def __repr__(self) -> str:
        return f"<ResponseWriter {self.status} to {self.peer}>"

    @property
    def streaming(self) -> bool:
        """Whether the response was started and not ended."""
        return self.status == "streaming"

    @property
    def peer(self) -> str:
        """The client's IP address."""
        return self._sink.peer

    async def send(self, complete: bytes) -> None:
        """Send a complete response, as made by `response`. Raises `ConnectionError` if the client is gone."""
        self.status = "answered"
        self._sink.write(complete if self._keep_alive else with_connection(complete, b"close"))
        await self._sink.drain()

    async def start(self, content_type: bytes = SSE) -> None:
        """Begin a 200 response of unknown length; pieces follow. Raises `ConnectionError` if the client is gone."""
        self.status = "streaming"
        framing = b"Transfer-Encoding: chunked" if self._keep_alive else b"Connection: close"
        head = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nCache-Control: no-store\r\n%b\r\n\r\n"
        self._sink.write(head % (content_type, framing))
        await self._sink.drain()

    async def write(self, data: bytes) -> None:
        """Send a piece of a started response.

        Raises `ConnectionError` if the client is gone or has not read for `Limits.stall` seconds.
        """
        if data:
            self._sink.write(b"%x\r\n%b\r\n" % (len(data), data) if self._keep_alive else data)
            await self._sink.drain()

    def end(self) -> bool:
        """End the response; tells whether the connection can serve another request."""
        if self.status == "streaming":
            self.status = "ended"
            if self._keep_alive:
                self._sink.write(b"0\r\n\r\n")
        return self._keep_alive and self.status != "unanswered"


Later: TypeAlias = Callable[[ResponseWriter], Coroutine[Any, Any, None]]
Answer: TypeAlias = bytes | Later  # a complete response now, or a coroutine function that writes it
Endpoint: TypeAlias = Callable[[bytes], Answer]  # from a request's body


class Handler(Protocol):
    """What the server serves."""

    def route(self, method: bytes, target: bytes, headers: Headers) -> Endpoint:
        """What answers requests with this head. Kept for more requests with the same head, so it may prepare much.

        It must depend on nothing but its arguments; what changes is for the endpoint to look at.
        """
        ...
