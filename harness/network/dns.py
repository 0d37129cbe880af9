"""One question to one DNS server, as a resolver asks it: UDP, TCP where the answer was cut short, and nothing believed that
does not answer this question (RFC 1035, RFC 5452 section 9.1).
"""

from __future__ import annotations

import asyncio
import errno
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdataclass
import dns.rdatatype

from harness.errors import RuntimeFailure

if TYPE_CHECKING:
    from harness.runtime.base import Address

TIMEOUT, REFUSED, INVALID, NXDOMAIN, NODATA = "TIMEOUT", "REFUSED", "INVALID", "NXDOMAIN", "NODATA"
_PREFIX: Final = 2  # bytes of a message's length over TCP
# This machine's own limits, not the server's: saying that it failed would be a lie.
_OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.EACCES})


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server says of a name. No address: there is none, and `error` is NXDOMAIN or NODATA. `ttl` in s."""

    addresses: tuple[str, ...]
    ttl: int = 0
    error: str = ""


class DnsFailure(Exception):  # noqa: N818 - as HttpFailure
    """No answer that can be used: `error` is TIMEOUT, REFUSED, INVALID, or the server's own word (SERVFAIL …)."""

    def __init__(self, error: str) -> None:
        super().__init__(error)
        self.error = error


async def ask(server: Address, name: str, *, source: str = "", timeout: float = 1.0) -> Answer:  # noqa: ASYNC109 - its expiry is a DnsFailure
    """The IPv4 addresses of a name, asked from a source address, in at most `timeout` s.

    Raises DnsFailure, and RuntimeFailure where this machine's own limits kept it from being asked.
    """
    query = dns.message.make_query(name, dns.rdatatype.A, dns.rdataclass.IN)
    local = (source, 0) if source else None
    try:
        async with asyncio.timeout(timeout):
            answer = await _by_udp(server, query, local)
            if answer.flags & dns.flags.TC:
                answer = await _by_tcp(server, query, local)
    except TimeoutError:
        raise DnsFailure(TIMEOUT) from None
    except OSError as error:
        if error.errno in _OURS:
            raise RuntimeFailure(
                f"can't ask {server} from {source or 'this machine'}: {error}"
            ) from error
        raise DnsFailure(REFUSED) from error
    except EOFError:
        raise DnsFailure(INVALID) from None
    return _read(query, answer)


def _read(query: dns.message.Message, answer: dns.message.Message) -> Answer:
    code = answer.rcode()
    if code == dns.rcode.NXDOMAIN:
        return Answer((), error=NXDOMAIN)
    if code != dns.rcode.NOERROR:
        raise DnsFailure(dns.rcode.to_text(code))
    asked = query.question[0].name
    for found in answer.answer:
        if found.name == asked and found.rdtype == dns.rdatatype.A:
            return Answer(tuple(item.address for item in found), found.ttl)
    return Answer((), error=NODATA)


def _answers(query: dns.message.Message, wire: bytes) -> dns.message.Message | None:
    """The message, if it answers the query."""
    try:
        message = dns.message.from_wire(wire)
    except (dns.exception.DNSException, ValueError):
        return None
    return message if query.is_response(message) else None


async def _by_udp(
    server: Address, query: dns.message.Message, local: tuple[str, int] | None
) -> dns.message.Message:
    loop = asyncio.get_running_loop()
    heard: asyncio.Future[dns.message.Message] = loop.create_future()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: _Question(query, heard), local_addr=local, remote_addr=(server.host, server.port)
    )
    try:
        return await heard
    finally:
        transport.close()


class _Question(asyncio.DatagramProtocol):
    """Waits for the answer to one query; what is none (an old answer, a forged one) is ignored."""

    def __init__(
        self, query: dns.message.Message, heard: asyncio.Future[dns.message.Message]
    ) -> None:
        self._query = query
        self._heard = heard

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.DatagramTransport", transport).sendto(self._query.to_wire())

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:  # noqa: ARG002 - the socket is connected
        if not self._heard.done() and (message := _answers(self._query, data)) is not None:
            self._heard.set_result(message)

    def error_received(self, exc: Exception) -> None:
        if not self._heard.done():
            self._heard.set_exception(exc)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._heard.done():
            self._heard.set_exception(exc or ConnectionError("closed"))


async def _by_tcp(
    server: Address, query: dns.message.Message, local: tuple[str, int] | None
) -> dns.message.Message:
    reader, writer = await asyncio.open_connection(server.host, server.port, local_addr=local)
    try:
        wire = query.to_wire()
        writer.write(len(wire).to_bytes(_PREFIX) + wire)
        length = int.from_bytes(await reader.readexactly(_PREFIX))
        message = _answers(query, await reader.readexactly(length))
        if message is None or message.flags & dns.flags.TC:
            raise DnsFailure(INVALID)
        return message
    finally:
        writer.transport.abort()
