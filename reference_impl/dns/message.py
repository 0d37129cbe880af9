"""One query's answer, as bytes: pure (RFC 1035; sizes over UDP: RFC 6891)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import dns.exception
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

SMALLEST_UDP: Final = 512  # bytes, for a client that does not say what it takes
LARGEST_UDP: Final = 1232  # bytes that no path cuts to pieces
LARGEST_TCP: Final = 65_535
_HEADER: Final = 12
_QR: Final = 0x80  # of the third byte: it is an answer


@dataclass(frozen=True, slots=True)
class Found:
    """What there is for a name. `ttl` in s."""

    addresses: tuple[str, ...]
    ttl: int


class UnavailableError(Exception):
    """There is no zone here to answer from: SERVFAIL, so that the client asks another server."""


# None: no such name. Raises `UnavailableError`.
Lookup = Callable[[str], Found | None]


def answer(query: bytes, lookup: Lookup, *, udp: bool) -> bytes | None:
    """The answer to a query; None for what must not be answered (too short, or itself an answer)."""
    if len(query) < _HEADER or query[2] & _QR:
        return None
    try:
        asked = dns.message.from_wire(query)
    except (dns.exception.DNSException, ValueError):
        return _malformed(query)
    response = dns.message.make_response(asked, our_payload=LARGEST_UDP)
    _fill(asked, response, lookup)
    # Their order says which is preferred; dnspython would shuffle them.
    if not udp:
        return response.to_wire(max_size=LARGEST_TCP, want_shuffle=False)
    room = min(max(asked.payload, SMALLEST_UDP), LARGEST_UDP)
    return response.to_wire(max_size=room, prefer_truncation=True, want_shuffle=False)


def _fill(asked: dns.message.Message, response: dns.message.Message, lookup: Lookup) -> None:
    if asked.opcode() != dns.opcode.QUERY:
        response.set_rcode(dns.rcode.NOTIMP)
        return
    if len(asked.question) != 1:
        response.set_rcode(dns.rcode.FORMERR)
        return
    question = asked.question[0]
    if question.rdclass != dns.rdataclass.IN:
        response.set_rcode(dns.rcode.REFUSED)
        return
    try:
        found = lookup(question.name.canonicalize().to_text(omit_final_dot=True))
    except UnavailableError:
        response.set_rcode(dns.rcode.SERVFAIL)
        return
    response.flags |= dns.flags.AA
    if found is None:
        response.set_rcode(dns.rcode.NXDOMAIN)
    elif question.rdtype in (dns.rdatatype.A, dns.rdatatype.ANY):
        records = dns.rrset.from_text_list(
            question.name, found.ttl, dns.rdataclass.IN, dns.rdatatype.A, found.addresses
        )
        response.answer.append(records)


def _malformed(query: bytes) -> bytes:
    """FORMERR with the query's id and opcode: nothing else of it can be trusted."""
    flags = bytes([_QR | (query[2] & 0x78), int(dns.rcode.FORMERR)])
    return query[:2] + flags + bytes(_HEADER - 4)
