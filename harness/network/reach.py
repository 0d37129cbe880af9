"""What a stranger sees who connects to an address: whether it connects, whether anything answers, how soon, how fast."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NoReturn

from harness.topology import DNS_PORT, ROUTER, SERVER_PORTS
from harness.units import now_ns, to_s  # a uvloop's time() moves in whole ms

if TYPE_CHECKING:
    from harness.network.base import Direction
    from harness.runtime.base import Address

_CHUNK = 65536
_MOST = {
    "http": 4000,
    "redis": 16384,
}  # bytes in one question; HTTP servers allow a request line of 8 KB
# A PostgreSQL SSLRequest: its length, and a code in place of a protocol version. Any server answers one byte, N or S.
_SSL_REQUEST = (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big")


# A question over TCP (RFC 1035, 4.2.2): its length, a header with one question, and the root's NS records. Any server answers.
_DNS_QUESTION = bytes.fromhex("0011 7371 0000 0001 0000 0000 0000 00 0002 0001")


class Protocol(StrEnum):
    HTTP = "http"
    REDIS = "redis"
    POSTGRES = "postgres"
    DNS = "dns"


_HELLO = {
    Protocol.HTTP: b"GET /health HTTP/1.1\r\nHost: squall\r\n\r\n",
    Protocol.REDIS: b"PING\r\n",
    Protocol.POSTGRES: _SSL_REQUEST,
    Protocol.DNS: _DNS_QUESTION,
}


def protocol_of(role: str) -> Protocol:
    """The language a node of this role speaks: its own for the servers, HTTP for every program."""
    return Protocol(role) if role in {Protocol.REDIS, Protocol.POSTGRES} else Protocol.HTTP


def protocol_at(port: int) -> Protocol:
    """The language of a port that a link names: a server's own on its port, DNS on that of the platform's, else HTTP."""
    if port == DNS_PORT:
        return Protocol.DNS
    roles = {number: role for role, number in SERVER_PORTS.items() if role != ROUTER}
    return protocol_of(roles.get(port, ""))


@dataclass(frozen=True, slots=True)
class Reach:
    """One try. `rtt_ms`: from the question's last byte to the answer's first, in ms; -1 without an answer.

    `error`: "", "refused", "reset", "closed", "timeout", or the operating system's word.
    """

    connected: bool
    answered: bool
    rtt_ms: float = -1.0
    error: str = ""

    def __str__(self) -> str:
        if self.answered:
            return f"answered in {self.rtt_ms:.1f} ms"
        if self.error == "timeout":
            return "connected, no answer" if self.connected else "no connection in time"
        return f"connected, then {self.error}" if self.connected else self.error


async def probe(address: Address, protocol: Protocol, timeout: float) -> Reach:  # noqa: ASYNC109 - the deadline is part of what is measured
    """Connect anew, say hello, wait for the first byte; `timeout` in s for all of it. Never raises for the network."""
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_connection(address.host, address.port)
            sent = now_ns()  # before it, so that whatever keeps us from going on only adds
            writer.write(_HELLO[protocol])
            if not await reader.read(1):
                return Reach(connected=True, answered=False, error="closed")
            return Reach(connected=True, answered=True, rtt_ms=(now_ns() - sent) / 1e6)
    except OSError as error:  # TimeoutError is one
        return Reach(connected=writer is not None, answered=False, error=_word(error))
    finally:
        if writer is not None:
            writer.transport.abort()


async def fastest(address: Address, protocol: Protocol, timeout: float, tries: int = 3) -> Reach:  # noqa: ASYNC109 - as above
    """The quickest of some probes: noise only ever adds, so this is nearest to the path's own delay."""
    seen = [await probe(address, protocol, timeout) for _ in range(tries)]
    return min(seen, key=lambda reach: reach.rtt_ms if reach.answered else float("inf"))


async def throughput(
    address: Address, protocol: Protocol, direction: Direction, duration: float, limit: int
) -> float | None:
    """KB/s that questions (upstream) or answers (downstream) move, one after the other for `duration` s.

    Questions are small enough for ten or more in that time at `limit` KB/s, where the protocol lets them.
    None where the protocol's greeting is too small to tell (PostgreSQL, DNS). 0.0 when nothing moves.
    """
    if protocol in {Protocol.POSTGRES, Protocol.DNS}:
        return None
    size = min(_MOST[protocol], int(limit * 1000 * duration / 10))
    question = _bulk(protocol, size)
    began = now_ns()
    moved = {"upstream": 0, "downstream": 0}
    try:
        async with asyncio.timeout(duration):
            while True:
                moved["downstream"] += await _exchange(address, protocol, question, size)
                moved["upstream"] += len(question)
    except OSError:  # the end of `duration`, as TimeoutError, or of the peer
        pass
    return moved[direction] / 1000 / max(to_s(now_ns() - began), 1e-9)


async def _exchange(address: Address, protocol: Protocol, question: bytes, size: int) -> int:
    """One question on a connection of its own; how many bytes answered it."""
    reader, writer = await asyncio.open_connection(address.host, address.port)
    try:
        writer.write(question)
        await writer.drain()
        got = 0
        if protocol is Protocol.REDIS:  # "$<size>", the echo, and an end of line
            got = len(await reader.readline()) + len(await reader.readexactly(size + 2))
        else:
            while data := await reader.read(_CHUNK):
                got += len(data)
        return got or _closed()
    except asyncio.IncompleteReadError as error:
        raise ConnectionError("closed in the middle of an answer") from error
    finally:
        writer.transport.abort()


def _bulk(protocol: Protocol, size: int) -> bytes:
    padding = b"x" * size
    if protocol is Protocol.REDIS:
        return b"*2\r\n$4\r\nECHO\r\n$%d\r\n%b\r\n" % (size, padding)
    return b"GET /health?pad=%b HTTP/1.1\r\nHost: squall\r\nConnection: close\r\n\r\n" % padding


def _closed() -> NoReturn:
    raise ConnectionError("closed without an answer")


def _word(error: OSError) -> str:
    kinds = {
        TimeoutError: "timeout",
        ConnectionRefusedError: "refused",
        ConnectionResetError: "reset",
    }
    return kinds.get(type(error)) or str(error) or type(error).__name__
