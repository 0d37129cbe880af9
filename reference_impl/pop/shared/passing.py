"""How a worker passes a request on to its lead: HTTP over a Unix socket, one connection for each."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from reference_impl.pop.response import SSE, Headers, ResponseWriter, refusal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

EVALUATIONS: Final = (
    b"/evaluations"  # where a worker tells its lead what it evaluates; nobody else's
)
ANSWER_WITHIN: Final = 30.0  # s; a lookup at the origin with all its attempts takes less
ASK_WITHIN: Final = 1.0  # s
CHUNK: Final = 65536
LARGEST_HEAD: Final = 65536  # bytes
_CLOSE: Final = b"Connection: close\r\n"
_NOT_PASSED: Final = {b"connection", b"content-length", b"transfer-encoding", b"expect", b"host"}


def lead_listener() -> socket.socket:
    """A socket that only processes of this machine's network find, by a name that the system gives it."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind("")
    return listener


class ToLead:
    """The way to the lead that listens at `address`."""

    def __init__(self, address: bytes) -> None:
        self.address = address

    def __repr__(self) -> str:
        return f"<ToLead {self.address!r}>"

    async def pass_on(
        self, writer: ResponseWriter, method: bytes, target: bytes, headers: Headers, body: bytes
    ) -> None:
        """Ask the lead and answer what it answers, a stream for as long as it lasts; 503 where it doesn't."""
        request = _request(method, target, headers, body)
        try:
            async with self._connected() as (reader, sender):
                sender.write(request)
                async with asyncio.timeout(ANSWER_WITHIN):
                    head = await reader.readuntil(b"\r\n\r\n")
                head = head.replace(_CLOSE, b"", 1)
                if b"Content-Type: " + SSE in head:
                    await _relay(reader, writer)
                    return
                async with asyncio.timeout(ANSWER_WITHIN):
                    rest = await reader.read()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            if writer.streaming:
                raise ConnectionAbortedError("the lead has ended the stream") from None
            await writer.send(refusal(HTTPStatus.SERVICE_UNAVAILABLE))
            return
        await writer.send(head + rest)

    async def ask(self, target: bytes, body: bytes) -> bytes | None:
        """The body of what the lead answers to a POST of the worker's own; None where it doesn't."""
        try:
            async with self._connected() as (reader, sender), asyncio.timeout(ASK_WITHIN):
                sender.write(_request(b"POST", target, {}, body))
                head = await reader.readuntil(b"\r\n\r\n")
                rest = await reader.read()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return None
        return rest if head.startswith(b"HTTP/1.1 200 ") else None

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.setblocking(False)
        try:
            sock.connect(self.address)  # at once, or not at all
            reader, sender = await asyncio.open_unix_connection(sock=sock, limit=LARGEST_HEAD)
        except BaseException:
            sock.close()
            raise
        try:
            yield reader, sender
        finally:
            sender.close()


async def _relay(reader: asyncio.StreamReader, writer: ResponseWriter) -> None:
    await writer.start()
    while piece := await reader.read(CHUNK):
        await writer.write(piece)


def _request(method: bytes, target: bytes, headers: Headers, body: bytes) -> bytes:
    lines = [
        b"%b: %b\r\n" % (name, value) for name, value in headers.items() if name not in _NOT_PASSED
    ]
    head = b"%b %b HTTP/1.1\r\nHost: lead\r\nConnection: close\r\nContent-Length: %d\r\n%b\r\n"
    return head % (method, target, len(body), b"".join(lines)) + body
