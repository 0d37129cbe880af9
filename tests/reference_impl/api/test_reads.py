"""The API server's reads: through the cache where there is one, and a flag's history page by page."""

import asyncio
import contextlib

import aiohttp
import pytest

from reference_impl.api.role import Api
from reference_impl.archive.reads import Histories
from reference_impl.cache.memory import CacheMemory, MemoryCache
from reference_impl.objectstore.memory import MemoryObjectStore
from reference_impl.resilience.errors import TIMEOUT
from reference_impl.storage.memory import MemoryDatabase
from reference_impl.storage.versions import MemoryVersions
from tests.reference_impl.archive.test_archiver import World
from tests.reference_impl.support import environment, node

ON = {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "on"}


class Server:
    """An API server with all that it uses in memory."""

    def __init__(self, database, *, memory=None, store=None):
        versions = MemoryVersions(database)
        self.api = Api(
            node("api-1", "api"),
            environment(),
            versions,
            cache=memory and MemoryCache(memory),
            histories=Histories(versions, store),
        )

    async def __aenter__(self):
        await self.api.start()
        self.http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10))
        return self

    async def __aexit__(self, *_):
        await self.http.close()
        await self.api.stop()

    async def ask(self, path, method="GET", **how):
        url = f"http://127.0.0.1:{self.api.site.port}/v1/orgs/acme/flags/{path}"
        async with self.http.request(method, url, **how) as answer:
            return answer.status, await answer.json(content_type=None)

    async def status(self):
        url = f"http://127.0.0.1:{self.api.site.port}/status"
        async with self.http.get(url) as answer:
            return await answer.json(content_type=None)


def test_servers_with_one_cache_show_each_others_changes_at_once():
    async def main():
        database, memory = MemoryDatabase(), CacheMemory()
        async with contextlib.AsyncExitStack() as stack:
            one, two = [
                await stack.enter_async_context(Server(database, memory=memory)) for _ in range(2)
            ]
            assert (await two.ask("k"))[0] == 404
            for state in ("ENABLED", "DISABLED"):
                flag = {**ON, "state": state}
                status, receipt = await one.ask("k", "PUT", json=flag)
                assert status == 200
                status, found = await two.ask("k")
                assert (status, found["flag"], found["seq"]) == (200, flag, receipt["seq"])
                assert found["version"] == receipt["version"]
            await one.ask("k", "DELETE")
            assert (await two.ask("k"))[0] == 404
            told = (await two.status())["cache"]
            assert told["hits"] == 3
            assert told["database_reads"] == 1

    asyncio.run(main())


def test_a_reader_may_ask_past_the_cache():
    async def main():
        database, memory = MemoryDatabase(), CacheMemory()
        async with Server(database, memory=memory) as server:
            await server.ask("k", "PUT", json=ON)
            late = {**ON, "state": "DISABLED"}
            await MemoryVersions(database).put_flag("acme", "k", late, 1)  # told to no cache
            assert (await server.ask("k"))[1]["flag"] == ON
            past = {"Cache-Control": "no-cache"}
            assert (await server.ask("k", headers=past))[1]["flag"] == late
            assert (await server.status())["cache"]["bypassed"] == 1

    asyncio.run(main())


def test_without_a_cache_each_read_is_the_databases():
    async def main():
        database = MemoryDatabase()
        async with Server(database) as server:
            await server.ask("k", "PUT", json=ON)
            assert (await server.ask("k"))[1]["flag"] == ON
            assert (await server.status())["cache"] is None

    asyncio.run(main())


def test_history_is_paged_over_database_and_archive():
    async def main():
        world = World(keep=10)
        await world.write(40, keys=("k",))
        await world.archiver.step()
        async with Server(world.database, store=world.store) as server:
            found, query = [], "limit=7"
            while True:
                status, page = await server.ask(f"k/history?{query}")
                assert status == 200
                assert len(page["versions"]) <= 7
                found += page["versions"]
                if page["next"] is None:
                    break
                query = f"limit=7&before={page['next']}"
            wanted = [{"version": c.seq, "flag": c.flag, "at": c.at} for c in world.written]
            assert found == wanted[::-1]
            for each in wanted:
                assert await server.ask(f"k/versions/{each['version']}") == (200, each)
            assert (await server.ask("k/versions/41"))[0] == 404
            world.store.broken = TIMEOUT
            assert (await server.ask("k/versions/40"))[0] == 200
        async with Server(world.database, store=world.store) as fresh:
            status, body = await fresh.ask("k/versions/1")
            assert status == 503
            assert "can't be read now" in body["error"]
            assert (await fresh.ask("k/history"))[0] == 200

    asyncio.run(main())


@pytest.mark.parametrize(
    "path",
    ["k/history?limit=0", "k/history?limit=1001", "k/history?before=-1", "k/history?limit=x",
     "k/versions/x", "k/versions/-1", f"k/versions/{10**30}"],
)  # fmt: skip
def test_what_is_no_number_is_refused(path):
    async def main():
        async with Server(MemoryDatabase(), store=MemoryObjectStore()) as server:
            status, body = await server.ask(path)
            assert status == 400
            assert "is no number" in body["error"]

    asyncio.run(main())
