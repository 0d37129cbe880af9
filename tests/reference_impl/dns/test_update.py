"""UpdateDNS against the real role: it is done once, and an old controller does nothing."""

import asyncio
import contextlib

import pytest

from reference_impl.config import Upstream
from reference_impl.dns.role import Dns
from reference_impl.dns.store import MemoryZoneStore
from reference_impl.dns.update import lead
from reference_impl.resilience.errors import CallError
from reference_impl.resilience.http import HttpClient
from tests.reference_impl.support import environment, node, own_host

NAME = "api.flags.example.com"
RECORD = {
    "addresses": ["127.0.0.5"],
    "ttl": 3,
    "groups": {"europe": ["127.0.0.6"]},
    "checked": True,
}


@contextlib.asynccontextmanager
async def primary():
    config = node("dns-1", "dns", records={NAME: RECORD})
    config.settings["port"] = 0
    server, http = Dns(config, environment(), MemoryZoneStore()), HttpClient(5.0)
    await server.start()
    try:
        yield server, http, Upstream("dns-1", "dns", "127.0.0.1", server.site.port)
    finally:
        await http.close()
        await server.stop()


def test_a_name_leads_elsewhere_once():
    async def main():
        async with primary() as (server, http, at):
            assert await lead(http, at, NAME, ["127.0.0.6"], epoch=2) == 2
            assert await lead(http, at, NAME, ["127.0.0.6"], epoch=2) == 2
            record = server.zone.records[NAME]
            assert (record.addresses, record.groups, record.ttl) == (["127.0.0.6"], {}, 3)
            assert (record.checked, record.epoch, server.zone.serial) == (True, 2, 2)

    asyncio.run(main())


def test_an_old_controller_changes_nothing():
    async def main():
        async with primary() as (server, http, at):
            await lead(http, at, NAME, ["127.0.0.6"], epoch=2)
            with pytest.raises(CallError, match="HTTP_412"):
                await lead(http, at, NAME, ["127.0.0.5"], epoch=1)
            assert server.zone.records[NAME].addresses == ["127.0.0.6"]

    asyncio.run(main())


def test_of_two_at_once_one_is_told():
    async def main():
        async with primary() as (server, http, at):
            both = (lead(http, at, NAME, [f"127.0.0.{n}"], epoch=2) for n in (6, 7))
            done = await asyncio.gather(*both, return_exceptions=True)
            kinds = sorted(str(getattr(one, "kind", one)) for one in done)
            # Both read the record before either wrote, or one after the other: then it is a change of its own.
            assert kinds in (["2", "HTTP_412"], ["2", "3"])
            assert server.zone.serial == (3 if "3" in kinds else 2)

    asyncio.run(main())


def test_no_such_record_and_no_such_server():
    async def main():
        async with primary() as (_, http, at):
            with pytest.raises(CallError, match="HTTP_404"):
                await lead(http, at, "other.example.com", ["127.0.0.6"], epoch=2)
            gone = Upstream("dns-1", "dns", own_host(), 8080)
            with pytest.raises(CallError, match="CONNECTION_REFUSED"):
                await lead(http, gone, NAME, ["127.0.0.6"], epoch=2)

    asyncio.run(main())
