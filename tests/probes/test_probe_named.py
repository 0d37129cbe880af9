"""Clients that find the platform by name: a DNS server that says what the test wants, and two nodes that answer."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import dns.message
import dns.rcode
import dns.rrset
import pytest

from harness.history import Complete, Resolved
from harness.probes import EvaluateProbe, WriteProbe
from harness.probes.http import HttpFailure
from harness.runtime.base import Address
from harness.topology import Endpoints, NamedEndpoint, Node
from harness.units import now_ns
from tests.network.netlab import claim_host
from tests.probes.probe_support import GROUP_SOURCE, Server, reply, running, site_for, until

NAME = "api.flags.example.com"


class Zone(asyncio.DatagramProtocol):
    """Answers with `addresses` and `ttl`; None: never; no address: NXDOMAIN."""

    def __init__(self, *addresses: str, ttl: int = 1) -> None:
        self.addresses: tuple[str, ...] | None = addresses
        self.ttl = ttl
        self.asked: list[tuple[str, int]] = []

    def connection_made(self, transport) -> None:
        self.transport = transport

    def datagram_received(self, data, addr) -> None:
        self.asked.append((addr[0], now_ns()))
        if self.addresses is None:
            return
        response = dns.message.make_response(dns.message.from_wire(data))
        if self.addresses:
            response.answer.append(
                dns.rrset.from_text_list(NAME + ".", self.ttl, "IN", "A", self.addresses)
            )
        else:
            response.set_rcode(dns.rcode.NXDOMAIN)
        self.transport.sendto(response.to_wire(want_shuffle=False), addr)


@asynccontextmanager
async def platform(zones, handler=None, nodes=("a", "b"), **how):
    """Nodes "a" and "b" that say who they are, and a DNS server for each zone (None: nobody is there)."""
    loop = asyncio.get_running_loop()
    hosts = {name: claim_host() for name in ("a", "b")}
    names = [f"dns-{n}" for n in range(len(zones))]
    async with AsyncExitStack() as stack:
        servers = {}
        for name in nodes:
            server = Server(
                handler
                or (
                    lambda _, name=name: reply(
                        {"seq": 1, "value": True, "metadata": {"node": name}}
                    )
                )
            )
            listener = await asyncio.start_server(server.serve, hosts[name], 8080)
            stack.callback(lambda s=server: [w.transport.abort() for w in list(s.writers)])
            stack.callback(listener.close)
            servers[name] = server
        for name, zone in zip(names, zones, strict=True):
            hosts[name] = claim_host()
            if zone is not None:
                transport, _ = await loop.create_datagram_endpoint(
                    lambda zone=zone: zone, local_addr=(hosts[name], 5353)
                )
                stack.callback(transport.close)
        site, log = site_for(1)
        endpoint = NamedEndpoint(NAME, tuple(names), ("a", "b"), **{"timeout": 0.2, **how})
        topology = replace(
            site.plan.topology,
            nodes={name: Node(name, "pop", "z1", "r1") for name in hosts},
            endpoints=Endpoints(evaluate=endpoint, write=endpoint),
        )
        plan = replace(
            site.plan,
            topology=topology,
            node={name: Address(host, 8080) for name, host in hosts.items()},
        )
        yield replace(site, plan=plan), log, servers, hosts


async def who(client, **how):
    response = await client.request("GET", "/", timeout=2.0, **how)
    return response.body.decode().partition('"node": "')[2][:1]


def test_an_answer_is_kept_for_its_ttl_and_not_longer(both_loops):
    async def main():
        zone = Zone(ttl=1)
        async with platform([zone]) as (site, log, servers, hosts):
            zone.addresses = (hosts["a"],)
            async with site.entrance(NAME, "europe", probe="p") as client:
                assert await who(client) == "a"
                zone.addresses, changed = (hosts["b"],), now_ns()
                while await who(client) == "a":
                    assert now_ns() - changed < 5e9
                    await asyncio.sleep(0.02)
                first, second = log.of(Resolved)
                assert second.asked >= first.t + 1_000_000_000
                assert second.asked - first.t < 4_000_000_000
                assert len(zone.asked) == 2
                await until(lambda: not servers["a"].writers, lambda: servers["a"].writers)
                assert {source for source, _ in zone.asked} == {GROUP_SOURCE}
            assert (first.nodes, first.addresses, first.ttl) == (["a"], [hosts["a"]], 10**9)
            assert (second.nodes, second.server, second.probe) == (["b"], "dns-0", "p")
            assert (first.name, first.error, first.stale) == (NAME, "", False)
            assert servers["a"].requests[0].headers["host"] == f"{NAME}:8080"
            assert servers["a"].requests[0].peer == GROUP_SOURCE

    both_loops(main())


def test_requests_that_wait_for_the_name_share_one_question(run):
    async def main():
        zone = Zone(ttl=5)
        async with platform([zone]) as (site, log, _, hosts):
            zone.addresses = (hosts["a"],)
            async with site.entrance(NAME, probe="p") as client:
                assert await asyncio.gather(*(who(client) for _ in range(20))) == ["a"] * 20
            assert len(zone.asked) == len(log.of(Resolved)) == 1

    run(main())


@pytest.mark.parametrize("first", ["silent", "absent"])
def test_the_next_server_is_asked_and_kept(run, first):
    async def main():
        silent = Zone() if first == "silent" else None
        if silent:
            silent.addresses = None
        zone = Zone(ttl=0)
        async with platform([silent, zone]) as (site, log, _, hosts):
            zone.addresses = (hosts["b"],)
            async with site.entrance(NAME, probe="p") as client:
                assert [await who(client) for _ in range(3)] == ["b"] * 3
            assert [event.server for event in log.of(Resolved)] == ["dns-1"] * 3
            assert len(silent.asked if silent else [1]) == 1

    run(main())


def test_without_a_server_what_is_known_is_used_for_a_while(run):
    async def main():
        zone = Zone(ttl=0)
        async with platform([zone], stale=0.7, recheck=0.2) as (site, log, _, hosts):
            zone.addresses = (hosts["a"],)
            async with site.entrance(NAME, probe="p") as client:
                assert await who(client) == "a"
                zone.addresses = None
                known = log.of(Resolved)[0].t
                deadline = now_ns() + 8 * 10**9
                with pytest.raises(HttpFailure, match="UNRESOLVED") as caught:
                    while now_ns() < deadline:
                        assert await who(client) == "a"
                        await asyncio.sleep(0.02)
                assert not caught.value.sent
                stale = log.of(Resolved, stale=True)
                assert stale
                assert {(tuple(e.nodes), e.error, e.server) for e in stale} == {
                    (("a",), "TIMEOUT", "")
                }
                assert all(e.t < known + 700_000_000 for e in stale)
                last = log.of(Resolved)[-1]
                assert (last.addresses, last.stale, last.error) == ([], False, "TIMEOUT")
                assert last.t >= known + 700_000_000
                zone.addresses = (hosts["b"],)
                assert await who(client) == "b"

    run(main())


def test_a_name_that_is_gone_is_gone_at_once(run):
    async def main():
        zone = Zone(ttl=0)
        async with platform([zone]) as (site, log, _, hosts):
            zone.addresses = (hosts["a"],)
            async with site.entrance(NAME, probe="p") as client:
                assert await who(client) == "a"
                zone.addresses = ()
                with pytest.raises(HttpFailure, match="UNRESOLVED"):
                    await who(client)
            assert [event.error for event in log.of(Resolved)] == ["", "NXDOMAIN"]

    run(main())


def test_nobody_is_led_out_of_the_platform(run):
    async def main():
        zone = Zone("192.0.2.1", ttl=0)
        async with platform([zone]) as (site, log, _, hosts):
            async with site.entrance(NAME, probe="p") as client:
                with pytest.raises(HttpFailure, match="UNRESOLVED"):
                    await who(client)
            (event,) = log.of(Resolved)
            assert (event.addresses, event.nodes, event.error) == (["192.0.2.1"], [""], "INVALID")

    run(main())


def test_where_nobody_listens_the_next_address_is_tried(run):
    async def main():
        zone = Zone(ttl=9)
        async with platform([zone], nodes=("b",)) as (site, _, _, hosts):
            zone.addresses = (hosts["a"], hosts["b"])
            async with site.entrance(NAME, probe="p") as client:
                with pytest.raises(HttpFailure, match="CONNECTION_REFUSED"):
                    await who(client)
                assert await who(client) == "b"
            assert len(zone.asked) == 1

    run(main())


def test_a_slow_name_counts_against_the_requests_own_time(run):
    async def main():
        silent = Zone()
        silent.addresses = None
        async with (
            platform([silent], timeout=5.0) as (site, _, _, _),
            site.entrance(NAME, probe="p") as client,
        ):
            began = now_ns()
            with pytest.raises(HttpFailure, match="TIMEOUT") as caught:
                await client.request("GET", "/", timeout=0.2)
            assert not caught.value.sent
            assert now_ns() - began < 4e9

    run(main())


def test_probes_go_where_the_name_leads(run):
    async def main():
        zone = Zone(ttl=0)
        async with platform([zone]) as (site, log, _, hosts):
            zone.addresses = (hosts["a"],)
            async with (
                running(EvaluateProbe(name="e", rate=50), site),
                running(WriteProbe(name="w", rate=50), site),
            ):
                await until(lambda: log.of(Complete, probe="e", node="a"), lambda: log.events[-3:])
                zone.addresses = (hosts["b"],)
                await until(lambda: log.of(Complete, probe="e", node="b"), lambda: log.events[-3:])
                zone.addresses = ()
                for name in ("e", "w"):
                    await until(
                        lambda name=name: log.of(Complete, probe=name, outcome="fail"),
                        lambda: log.events[-3:],
                    )
            assert {c.outcome for c in log.of(Complete, probe="w")} == {"ok", "fail"}
            failed = log.of(Complete, probe="e", outcome="fail")[0]
            assert (failed.error, len(failed.attempts)) == ("UNRESOLVED", 2)
            assert {e.probe for e in log.of(Resolved)} == {"e", "w"}

    run(main())
