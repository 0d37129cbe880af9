"""The resolver: in virtual time against servers made of a function, and over TCP against the real one."""

import asyncio
import random

import pytest

from reference_impl.config import Upstream
from reference_impl.dns.resolver import (
    NO_NAME,
    Answer,
    Resolver,
    ResolverSettings,
    leading_to,
    over_tcp,
)
from reference_impl.dns.role import Dns
from reference_impl.dns.store import MemoryZoneStore
from reference_impl.resilience.errors import CONNECTION_REFUSED, INVALID, TIMEOUT, CallError
from tests.broken.ignores_ttl import StubbornResolver
from tests.reference_impl.support import environment, node, own_host, run_virtual

NAME = "api.flags.example.com"
ONE, TWO = (Upstream(f"dns-{n}", "dns", "127.0.0.1", 5353) for n in (1, 2))


class Servers:
    """What each server says now: an answer, an error to raise, or None for silence."""

    def __init__(self, **says):
        self.says = says
        self.asked = []

    async def __call__(self, server, name, number):
        assert 0 <= number < 2**16
        self.asked.append(server.to)
        said = self.says[server.to.replace("-", "_")]
        if said is None:
            await asyncio.sleep(1e9)
        if isinstance(said, Exception):
            raise said
        return said


def resolver(servers, cls=Resolver, **settings):
    return cls((ONE, TWO), ResolverSettings(**settings), random.Random(1), servers)


def refused():
    return CallError(CONNECTION_REFUSED)


def honours_ttl(cls):
    """A change is seen when the TTL is over: not before, which would be no cache, and not after."""

    async def main():
        servers = Servers(dns_1=Answer(("127.0.0.1",), 5.0))
        names = resolver(servers, cls)
        assert await names.resolve(NAME) == ("127.0.0.1",)
        servers.says["dns_1"] = Answer(("127.0.0.2",), 5.0)
        await asyncio.sleep(4.99)
        early = await names.resolve(NAME)
        await asyncio.sleep(0.02)
        return early, await names.resolve(NAME), len(servers.asked)

    return run_virtual(main()) == (("127.0.0.1",), ("127.0.0.2",), 2)


def test_an_answer_is_used_for_its_ttl_exactly():
    assert honours_ttl(Resolver)
    assert not honours_ttl(StubbornResolver)  # or the test could not fail


def test_a_ttl_of_nothing_is_asked_each_time():
    async def main():
        servers = Servers(dns_1=Answer(("127.0.0.1",), 0.0))
        names = resolver(servers)
        for _ in range(3):
            await names.resolve(NAME)
        assert len(servers.asked) == 3

    run_virtual(main())


def test_callers_share_a_question_and_one_that_gives_up_takes_nothing_away():
    async def main():
        servers = Servers(dns_1=None, dns_2=Answer(("127.0.0.1",), 5.0))
        names = resolver(servers)
        tasks = [asyncio.create_task(names.resolve(NAME)) for _ in range(5)]
        await asyncio.sleep(0.1)
        tasks[0].cancel()
        assert await asyncio.gather(*tasks[1:]) == [("127.0.0.1",)] * 4
        assert servers.asked == ["dns-1", "dns-2"]
        assert asyncio.get_running_loop().time() == pytest.approx(0.5)

    run_virtual(main())


def test_the_server_that_answered_is_asked_first_the_next_time():
    async def main():
        servers = Servers(dns_1=refused(), dns_2=Answer(("127.0.0.1",), 0.0))
        names = resolver(servers)
        for _ in range(3):
            await names.resolve(NAME)
        assert servers.asked == ["dns-1", "dns-2", "dns-2", "dns-2"]

    run_virtual(main())


def test_what_is_stale_is_used_for_a_bounded_time():
    async def main():
        loop = asyncio.get_running_loop()
        servers = Servers(dns_1=Answer(("127.0.0.1",), 5.0), dns_2=refused())
        names = resolver(servers, stale=10.0, recheck=2.0)
        await names.resolve(NAME)
        servers.says["dns_1"] = None
        while loop.time() < 14.9:
            assert await names.resolve(NAME) == ("127.0.0.1",)
            await asyncio.sleep(0.05)
        # Asked again each 2 s and the time that the silent one takes, never with each call.
        assert len(servers.asked) <= 1 + 2 * 5
        await asyncio.sleep(0.2)
        with pytest.raises(CallError) as caught:
            await names.resolve(NAME)
        assert caught.value.kind in (TIMEOUT, CONNECTION_REFUSED)
        servers.says["dns_2"] = Answer(("127.0.0.2",), 5.0)
        assert await names.resolve(NAME) == ("127.0.0.2",)

    run_virtual(main())


def test_who_knows_something_does_not_wait_for_servers_that_hang():
    async def main():
        loop = asyncio.get_running_loop()
        servers = Servers(dns_1=Answer(("127.0.0.1",), 5.0), dns_2=None)
        names = resolver(servers, stale=10.0, patience=0.25)
        await names.resolve(NAME)
        servers.says["dns_1"] = None
        waits = []
        await asyncio.sleep(5.1)
        while loop.time() < 12:
            began = loop.time()
            assert await names.resolve(NAME) == ("127.0.0.1",)
            waits.append(loop.time() - began)
            await asyncio.sleep(0.1)
        assert max(waits) == pytest.approx(0.25)
        # The question goes on meanwhile, and its answer is taken.
        servers.says["dns_1"] = servers.says["dns_2"] = Answer(("127.0.0.2",), 5.0)
        await asyncio.sleep(2.5)
        assert await names.resolve(NAME) == ("127.0.0.2",)
        await names.close()

    run_virtual(main())


def test_no_such_name_is_an_answer_that_ends_what_was_known():
    async def main():
        servers = Servers(dns_1=Answer(("127.0.0.1",), 0.0), dns_2=Answer(("127.0.0.9",), 9.0))
        names = resolver(servers)
        await names.resolve(NAME)
        servers.says["dns_1"] = Answer((), 0.0)
        with pytest.raises(CallError) as caught:
            await names.resolve(NAME)
        assert caught.value.kind == NO_NAME
        servers.says.update(dns_1=refused(), dns_2=refused())
        with pytest.raises(CallError) as caught:
            await names.resolve(NAME)
        assert caught.value.kind == CONNECTION_REFUSED

    run_virtual(main())


def test_without_servers():
    async def main():
        with pytest.raises(CallError):
            await Resolver((), ResolverSettings(), random.Random(1)).resolve(NAME)

    run_virtual(main())


def test_links_in_the_order_of_the_addresses():
    links = [
        Upstream(f"lb-{n}", "balancer", "127.0.0.200", 20000 + n, f"127.0.0.{n}") for n in range(3)
    ]
    found = leading_to(links, ["127.0.0.2", "127.0.0.77", "127.0.0.0"])
    assert [link.to for link in found] == ["lb-2", "lb-0"]
    assert leading_to(links, []) == ()


def test_over_tcp_from_the_real_server():
    async def main():
        many = [f"10.0.{n}.{m}" for n in range(4) for m in range(200)]
        records = {NAME: {"addresses": many, "ttl": 7}}
        config = node("dns-1", "dns", records=records)
        config.settings["port"] = 0
        server = Dns(config, environment(), MemoryZoneStore())
        await server.start()
        try:
            at = Upstream("dns-1", "dns", "127.0.0.1", server.server.port)
            assert await over_tcp(at, NAME, 77) == Answer(tuple(many), 7.0)
            assert await over_tcp(at, "no.example.com", 77) == Answer((), 0.0)
            names = Resolver([at], ResolverSettings(), random.Random(1))
            assert await names.resolve(NAME) == tuple(many)
            await names.close()
        finally:
            await server.stop()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("says", "kind"),
    [
        (b"", "CONNECTION_RESET"),
        (b"\0\5\0", "CONNECTION_RESET"),
        (b"\0\2xx", INVALID),
        (b"\0\x0c" + b"\0\1\x80" + bytes(9), INVALID),
    ],
)
def test_servers_that_talk_nonsense(says, kind):
    async def serve(reader, writer):
        await reader.read(100)
        writer.write(says)
        writer.close()

    async def main():
        host = own_host()
        listener = await asyncio.start_server(serve, host, 5353)
        with pytest.raises(CallError) as caught:
            await over_tcp(Upstream("dns-1", "dns", host, 5353), NAME, 1)
        assert caught.value.kind == kind
        listener.close()

    asyncio.run(main())
