"""Answers as bytes, read by dnspython, which is also what wrote the questions."""

import dns.edns
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdatatype
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_impl.dns.message import LARGEST_UDP, Found, UnavailableError, answer

KNOWN = {
    "api.example.com": Found(("127.0.0.1", "127.0.0.2"), 7),
    "some.example.com": Found(tuple(f"10.0.0.{n}" for n in range(60)), 7),
    "many.example.com": Found(tuple(f"10.0.{n // 250}.{n % 250}" for n in range(600)), 7),
}


def lookup(name):
    if name == "down.example.com":
        raise UnavailableError
    return KNOWN.get(name)


def ask(query, *, udp=True):
    wire = answer(query if isinstance(query, bytes) else query.to_wire(), lookup, udp=udp)
    assert wire is not None
    return dns.message.from_wire(wire), len(wire)


def test_addresses_in_their_order_with_their_ttl():
    query = dns.message.make_query("API.example.com", "A")
    got, _ = ask(query)
    assert got.is_response is not None
    assert query.is_response(got)
    assert got.flags & dns.flags.AA
    (answers,) = got.answer
    assert [item.address for item in answers] == ["127.0.0.1", "127.0.0.2"]
    assert answers.ttl == 7


@pytest.mark.parametrize(
    ("query", "code"),
    [
        (dns.message.make_query("no.example.com", "A"), dns.rcode.NXDOMAIN),
        (dns.message.make_query("down.example.com", "A"), dns.rcode.SERVFAIL),
        (dns.message.make_query("api.example.com", "AAAA"), dns.rcode.NOERROR),
        (dns.message.make_query("api.example.com", "A", "CH"), dns.rcode.REFUSED),
        (b"\xab\xcd\x28\x00" + bytes(8), dns.rcode.NOTIMP),
        (b"\xab\xcd\x01\x00" + bytes(8), dns.rcode.FORMERR),
        (b"\xab\xcd\x01\x00\x00\x01" + bytes(6) + b"\xff", dns.rcode.FORMERR),
    ],
)
def test_what_has_no_address(query, code):
    got, _ = ask(query)
    assert got.rcode() == code
    assert not got.answer
    assert got.id == (query.id if not isinstance(query, bytes) else 0xABCD)


def test_what_does_not_fit_is_truncated_over_udp_and_whole_over_tcp():
    plain = dns.message.make_query("many.example.com", "A")
    got, size = ask(plain)
    assert got.flags & dns.flags.TC
    assert size <= 512
    roomy = dns.message.make_query("many.example.com", "A", use_edns=0, payload=65000)
    assert ask(roomy)[0].flags & dns.flags.TC
    some = dns.message.make_query("some.example.com", "A")
    assert ask(some)[0].flags & dns.flags.TC
    some.use_edns(0, payload=65000)
    got, size = ask(some)
    assert not got.flags & dns.flags.TC
    assert 512 < size <= LARGEST_UDP
    got, _ = ask(plain, udp=False)
    assert not got.flags & dns.flags.TC
    assert len(got.answer[0]) == 600


@given(st.binary(max_size=80))
def test_whatever_comes_is_answered_or_dropped(query):
    """An answer is never answered: two servers could play with each other for ever."""
    got = answer(query, lookup, udp=True)
    if len(query) < 12 or query[2] & 0x80:
        assert got is None
    else:
        assert got is not None
        assert got[:2] == query[:2]
        assert got[2] & 0x80
