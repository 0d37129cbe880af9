"""A real server answers; wrong ones are not believed. They are made of bytes, so that what is read is what was sent."""

from __future__ import annotations

import asyncio
import contextlib

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from harness.network.dns import Answer, DnsFailure, ask
from harness.runtime.base import Address
from reference_impl.dns.role import Dns
from reference_impl.dns.store import MemoryZoneStore
from tests.network.netlab import claim_host, live
from tests.reference_impl.support import environment, node

NAME = "api.flags.example.com"


def reply(query: dns.message.Message, *addresses: str, ttl: int = 5) -> dns.message.Message:
    response = dns.message.make_response(query)
    response.answer.append(dns.rrset.from_text_list(NAME + ".", ttl, "IN", "A", addresses))
    return response


class Udp(asyncio.DatagramProtocol):
    def __init__(self, act, heard) -> None:
        self.act, self.heard = act, heard

    def connection_made(self, transport) -> None:
        self.transport = transport

    def datagram_received(self, data, addr) -> None:
        self.heard.append(addr)
        for wire in self.act(dns.message.from_wire(data)):
            self.transport.sendto(wire, addr)


@contextlib.asynccontextmanager
async def server(act, tcp=None):
    """`act` gives the datagrams that answer a query; `tcp` the bytes that do over TCP."""
    host, heard = claim_host(), []

    async def serve(reader, writer) -> None:
        heard.append(writer.get_extra_info("peername"))
        length = int.from_bytes(await reader.readexactly(2))
        query = dns.message.from_wire(await reader.readexactly(length))
        writer.write(tcp(query))
        await writer.drain()
        writer.close()

    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: Udp(act, heard), local_addr=(host, 5353)
    )
    listener = await asyncio.start_server(serve, host, 5353) if tcp else None
    try:
        yield Address(host, 5353), heard
    finally:
        transport.close()
        if listener:
            listener.close()


def framed(message: dns.message.Message) -> bytes:
    wire = message.to_wire()
    return len(wire).to_bytes(2) + wire


@live
async def test_addresses_in_the_servers_order_and_their_ttl():
    async with server(
        lambda q: [reply(q, "127.0.0.9", "127.0.0.1").to_wire(want_shuffle=False)]
    ) as (
        address,
        heard,
    ):
        assert await ask(address, NAME) == Answer(("127.0.0.9", "127.0.0.1"), 5)
        await ask(address, NAME, source="127.0.0.44")
        assert heard[1][0] == "127.0.0.44"


@live
async def test_a_truncated_answer_is_asked_for_again_by_tcp():
    def short(query):
        response = reply(query, "127.6.6.6")
        response.flags |= dns.flags.TC
        return [response.to_wire()]

    whole = lambda q: framed(reply(q, "127.0.0.1", "127.0.0.2"))  # noqa: E731
    async with server(short, whole) as (address, heard):
        got = await ask(address, NAME, source="127.0.0.44")
        assert sorted(got.addresses) == ["127.0.0.1", "127.0.0.2"]
        assert [peer[0] for peer in heard] == ["127.0.0.44"] * 2
    for wrong in (lambda q: b"\0\1x", lambda q: b"\0", lambda q: framed(reply(dns.message.make_query("x.", "A")))):  # fmt: skip
        async with server(short, wrong) as (address, _):
            with pytest.raises(DnsFailure, match="INVALID"):
                await ask(address, NAME)
    async with server(short) as (address, _):
        with pytest.raises(DnsFailure, match="REFUSED"):
            await ask(address, NAME)


def forged(query):
    """Everything but the right answer: another id, another question, no answer at all, noise."""
    response = reply(query, "127.6.6.6")
    response.id ^= 1
    yield response.to_wire()
    yield reply(
        dns.message.make_query("other.example.com", "A", id=query.id), "127.6.6.6"
    ).to_wire()
    yield query.to_wire()
    yield b"noise"


@live
async def test_what_does_not_answer_the_question_is_not_believed():
    async with server(lambda q: [*forged(q), reply(q, "127.0.0.1").to_wire()]) as (address, _):
        assert (await ask(address, NAME)).addresses == ("127.0.0.1",)
    async with server(forged) as (address, _):
        with pytest.raises(DnsFailure, match="TIMEOUT"):
            await ask(address, NAME, timeout=0.3)


@live
async def test_no_such_name_and_no_address_are_answers():
    def refusing(code):
        def act(query):
            response = dns.message.make_response(query)
            response.set_rcode(code)
            return [response.to_wire()]

        return act

    for code, error in ((dns.rcode.NXDOMAIN, "NXDOMAIN"), (dns.rcode.NOERROR, "NODATA")):
        async with server(refusing(code)) as (address, _):
            assert await ask(address, NAME) == Answer((), error=error)
    for code in (dns.rcode.SERVFAIL, dns.rcode.REFUSED):
        async with server(refusing(code)) as (address, _):
            with pytest.raises(DnsFailure, match=dns.rcode.to_text(code)):
                await ask(address, NAME)


@live
async def test_addresses_of_another_name_are_not_this_ones():
    def other(query):
        response = dns.message.make_response(query)
        response.answer.append(dns.rrset.from_text("other.", 5, "IN", "A", "127.6.6.6"))
        return [response.to_wire()]

    async with server(other) as (address, _):
        assert (await ask(address, NAME)).error == "NODATA"


@live
async def test_silence_and_nobody_there():
    async with server(lambda q: []) as (address, heard):
        with pytest.raises(DnsFailure, match="TIMEOUT"):
            await ask(address, NAME, timeout=0.2)
        assert len(heard) == 1
    with pytest.raises(DnsFailure, match="REFUSED"):
        await ask(Address(claim_host(), 5353), NAME, timeout=5)


@live
async def test_the_platforms_own_server():
    many = [f"10.0.{n}.{m}" for n in range(3) for m in range(100)]
    records = {NAME: {"addresses": ["127.0.0.9"], "ttl": 7, "groups": {"europe": many}}}
    config = node(
        "dns-1", "dns", host=claim_host(), clients={"127.0.0.44": "europe"}, records=records
    )
    server = Dns(config, environment(), MemoryZoneStore())
    await server.start()
    try:
        address = Address(config.listen.host, server.server.port)
        assert await ask(address, NAME) == Answer(("127.0.0.9",), 7)
        assert await ask(address, NAME, source="127.0.0.44") == Answer(tuple(many), 7)
        assert (await ask(address, "other.example.com")).error == "NXDOMAIN"
    finally:
        await server.stop()


def test_on_uvloop_too():
    import uvloop

    async def main():
        async with server(lambda q: [reply(q, "127.0.0.1").to_wire()]) as (address, heard):
            got = await ask(address, NAME, source="127.0.0.44")
            assert (got.addresses, heard[0][0]) == (("127.0.0.1",), "127.0.0.44")
        with pytest.raises(DnsFailure, match="REFUSED"):
            await ask(Address(claim_host(), 5353), NAME, timeout=5)

    uvloop.run(asyncio.wait_for(main(), 20))
