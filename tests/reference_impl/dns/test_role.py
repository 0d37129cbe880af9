"""The role over its real sockets: queries by UDP and TCP, changes by HTTP, secondaries, restarts, views, health."""

import asyncio
import contextlib

import aiohttp
import dns.asyncquery
import dns.flags
import dns.message
import dns.rcode
import msgspec
import pytest

from reference_impl.config import ConfigError, Upstream
from reference_impl.dns.role import Dns
from reference_impl.dns.store import MemoryZoneStore
from reference_impl.web import Site
from tests.reference_impl.support import environment, node, own_host, until

NAME = "api.flags.example.com"
RECORDS = {NAME: {"addresses": ["127.0.0.5"], "ttl": 3}}


def make(name="dns-1", store=None, links=None, clients=None, host="127.0.0.1", **settings):
    settings = {"records": RECORDS, **settings}
    config = node(name, "dns", host=host, links=links, clients=clients, **settings)
    config.settings["port"] = 0
    return Dns(config, environment(), store or MemoryZoneStore())


@contextlib.asynccontextmanager
async def serving(server):
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def ask(server, name=NAME, *, how=dns.asyncquery.udp, source=None, host="127.0.0.1"):
    query = dns.message.make_query(name, "A")
    return await how(query, host, timeout=5, port=server.server.port, source=source)


async def addresses(server, **more):
    got = await ask(server, **more)
    assert got.rcode() == dns.rcode.NOERROR, got
    return [item.address for item in got.answer[0]]


async def send(server, method, path, body=None, **headers):
    url = f"http://127.0.0.1:{server.site.port}{path}"
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as http,
        http.request(method, url, json=body, headers=headers) as response,
    ):
        return response.status, await response.json()


def test_udp_and_tcp_give_the_same():
    async def main():
        many = {"many.example.com": {"addresses": [f"10.0.0.{n}" for n in range(200)], "ttl": 9}}
        async with serving(make(records=RECORDS | many)) as server:
            for how in (dns.asyncquery.udp, dns.asyncquery.tcp):
                got = await ask(server, how=how)
                assert got.answer[0].ttl == 3
                assert [item.address for item in got.answer[0]] == ["127.0.0.5"]
                assert (await ask(server, "no.example.com", how=how)).rcode() == dns.rcode.NXDOMAIN
            assert (await ask(server, "many.example.com")).flags & dns.flags.TC
            whole = await ask(server, "many.example.com", how=dns.asyncquery.tcp)
            assert len(whole.answer[0]) == 200
            assert server.queries == 6

    asyncio.run(main())


def test_records_change_by_http_and_only_at_the_version_that_is_known():
    async def main():
        async with serving(make()) as server:
            status, zone = await send(server, "GET", "/records")
            assert (status, zone["serial"], zone["records"][NAME]["version"]) == (200, 1, 1)
            moved = {"addresses": ["127.0.0.6"], "ttl": 1}
            got = await send(server, "PUT", f"/records/{NAME}", moved, **{"If-Match": '"1"'})
            assert got == (200, {"name": NAME, "version": 2})
            assert await addresses(server) == ["127.0.0.6"]
            late = {"addresses": ["127.0.0.5"], "ttl": 1}
            status, said = await send(server, "PUT", f"/records/{NAME}", late, **{"If-Match": "1"})
            assert (status, said["version"]) == (412, 2)
            assert await addresses(server) == ["127.0.0.6"]
            for body, headers in (
                ({"addresses": [], "ttl": 1}, {}),
                ({"addresses": ["x"], "ttl": 1}, {}),
                ({"addresses": ["1.2.3.4"], "ttl": -1}, {}),
                ({"addresses": ["1.2.3.4"], "ttl": 1, "version": 99}, {}),
                (late, {"If-Match": "soon"}),
            ):
                status, _ = await send(server, "PUT", f"/records/{NAME}", body, **headers)
                assert status == 400, body
            assert (await send(server, "DELETE", f"/records/{NAME}"))[0] == 200
            assert (await ask(server)).rcode() == dns.rcode.NXDOMAIN
            status, state = await send(server, "GET", "/status")
            assert (state["seq"], state["primary"], state["records"]) == (3, True, {})

    asyncio.run(main())


def test_what_was_changed_outlives_a_restart(tmp_path):
    async def main():
        def server():
            config = node("dns-1", "dns", records=RECORDS)
            config.settings["port"] = 0
            return Dns(msgspec.structs.replace(config, state_dir=str(tmp_path)), environment())

        async with serving(server()) as first:
            await send(first, "PUT", f"/records/{NAME}", {"addresses": ["127.0.0.6"], "ttl": 1})
        async with serving(server()) as again:
            assert await addresses(again) == ["127.0.0.6"]
            assert again.zone.serial == 2
        (tmp_path / "zone.json").write_text("{")
        with pytest.raises(ConfigError, match="zone.json"):
            await server().start()

    asyncio.run(main())


def test_a_secondary_follows_and_goes_on_alone():
    async def main():
        store = MemoryZoneStore()
        async with contextlib.AsyncExitStack() as stack:
            primary = await stack.enter_async_context(serving(make()))
            link = ("dns-1", "dns", "127.0.0.1", primary.site.port)

            def second(**more):
                return make("dns-2", store, {"dns-primary": [link]}, refresh=0.02, **more)

            async with serving(second()) as secondary:
                await until(lambda: secondary.zone.serial == 1, seen=lambda: secondary)
                assert await addresses(secondary) == ["127.0.0.5"]
                await send(
                    primary, "PUT", f"/records/{NAME}", {"addresses": ["127.0.0.6"], "ttl": 1}
                )
                await until(lambda: secondary.zone.serial == 2, seen=lambda: secondary)
                assert await addresses(secondary) == ["127.0.0.6"]
                status, _ = await send(
                    secondary, "PUT", f"/records/{NAME}", {"addresses": ["127.0.0.7"], "ttl": 1}
                )
                assert status == 409
                await primary.stop()
                await until(lambda: secondary.follower.error, seen=lambda: secondary)
                assert await addresses(secondary) == ["127.0.0.6"]
                assert (await send(secondary, "GET", "/status"))[1]["upstream"] is None
            # Without its primary it begins with what it has saved, and ends when that is too old.
            async with serving(second(expire=1.0)) as alone:
                assert await addresses(alone) == ["127.0.0.6"]
                await until(alone._unready, seen=lambda: alone)
                assert (await ask(alone)).rcode() == dns.rcode.SERVFAIL
                assert (await send(alone, "GET", "/ready"))[0] == 503

    asyncio.run(main())


def test_a_secondary_that_never_had_a_zone_says_so():
    async def main():
        link = ("dns-1", "dns", own_host(), 8080)
        async with serving(make("dns-2", links={"dns-primary": [link]})) as secondary:
            assert (await ask(secondary)).rcode() == dns.rcode.SERVFAIL

    asyncio.run(main())


def test_a_zone_never_goes_back():
    server = make()
    server.zone = new = msgspec.structs.replace(server.zone, serial=7)
    server.take(msgspec.structs.replace(new, serial=6))
    server.take(msgspec.structs.replace(new, serial=7, records={}))
    assert server.zone is new
    server.take(newer := msgspec.structs.replace(new, serial=8))
    assert server.zone is newer


def test_client_groups_have_views_of_their_own():
    async def main():
        host = own_host()
        groups = {NAME: {"addresses": ["127.0.0.5"], "ttl": 3, "groups": {"europe": ["127.0.0.8"]}}}
        clients = {"127.0.0.77": "europe", "127.0.0.78": "americas"}
        async with serving(make(clients=clients, records=groups, host=host)) as server:
            for source, wanted in (
                ("127.0.0.77", "127.0.0.8"),
                ("127.0.0.78", "127.0.0.5"),
                (None, "127.0.0.5"),
            ):
                for how in (dns.asyncquery.udp, dns.asyncquery.tcp):
                    got = await addresses(server, host=host, source=source, how=how)
                    assert got == [wanted], (source, how)

    asyncio.run(main())


def test_a_checked_record_leads_where_it_is_well_and_back():
    async def main():
        async with contextlib.AsyncExitStack() as stack:
            sites = [Site(dict, lambda: None) for _ in range(2)]
            ports = []
            for site in sites:
                await site.start("127.0.0.1", 0)
                ports.append(site.port)
                stack.push_async_callback(site.stop)
            addresses_ = ["127.0.0.5", "127.0.0.6"]
            targets = [
                msgspec.to_builtins(Upstream(f"lb-{n}", "balancer", "127.0.0.1", port, address))
                for n, (port, address) in enumerate(zip(ports, addresses_, strict=True))
            ]
            records = {NAME: {"addresses": addresses_, "ttl": 1, "checked": True}}
            links = {"target": [tuple(target.values()) for target in targets]}
            health = {"interval": 0.03, "failures": 2, "hold": 0.05}
            server = await stack.enter_async_context(
                serving(make(records=records, links=links, health=health))
            )

            def given():
                return list(server.lookup(NAME, "").addresses)

            checks = list(server.checks.values())
            await until(lambda: all(c.healthy for c in checks), seen=lambda: checks)
            assert await addresses(server) == ["127.0.0.5"]
            await sites[0].stop()
            await until(lambda: given() == ["127.0.0.6"], seen=lambda: checks)
            await sites[1].stop()
            await until(lambda: given() == addresses_, seen=lambda: checks)
            await sites[0].start("127.0.0.1", ports[0])
            await until(lambda: given() == ["127.0.0.5"], seen=lambda: checks)

    asyncio.run(main())
