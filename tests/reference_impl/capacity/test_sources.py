"""Where figures come from: a node's status, and a real PostgreSQL."""

import asyncio
import contextlib

import asyncpg

from reference_impl.capacity.load import Gauge
from reference_impl.capacity.sources import NodeSource, ShardSource
from reference_impl.capacity.thresholds import Kind
from reference_impl.config import Upstream
from reference_impl.resilience.http import HttpClient
from reference_impl.web import Site
from tests.reference_impl.support import own_host

WITHIN = 5.0


@contextlib.asynccontextmanager
async def site(status):
    served = Site(status, lambda: None)
    await served.start("127.0.0.1", 0)
    http = HttpClient()
    try:
        yield Upstream("hub-1", "hub", "127.0.0.1", served.port), http
    finally:
        await http.close()
        await served.stop()


def test_a_nodes_own_figures():
    async def main():
        gauge = Gauge(1 << 40)
        async with site(lambda: {"node": "hub-1", "load": gauge.figures(7, 3)}) as (link, http):
            source = NodeSource(Kind.ADD_HUB, link, http, WITHIN)
            figures = await source.figures()
            assert (source.node, source.kind) == ("hub-1", Kind.ADD_HUB)
            assert (figures["connections"], figures["pops"]) == (7, 3)
            assert figures["latency_p99_ms"] is None
            assert 0 < figures["memory"] < 1

    asyncio.run(main())


def test_a_node_that_does_not_answer_says_nothing():
    async def main():
        async with site(lambda: {"node": "hub-1"}) as (link, http):
            assert await NodeSource(Kind.ADD_HUB, link, http, WITHIN).figures() == {}
        nobody = Upstream("hub-1", "hub", own_host(), 8080)
        http = HttpClient()
        assert await NodeSource(Kind.ADD_HUB, nobody, http, WITHIN).figures() == {}
        await http.close()

    asyncio.run(main())


def test_a_shards_transactions_and_size(postgres_server):
    async def main():
        where = {"host": postgres_server.host, "port": postgres_server.port, "user": "squall"}
        admin = await asyncpg.connect(**where, database="postgres")
        await admin.execute("DROP DATABASE IF EXISTS squall")
        await admin.execute("CREATE DATABASE squall")
        link = Upstream("db", "postgres", postgres_server.host, postgres_server.port)
        source = ShardSource(link, "squall", WITHIN, window=2.5)
        first = await source.figures()
        assert first["queries"] is None
        assert first["storage"] > 1 << 20
        user = await asyncpg.connect(**where, database="squall")
        await user.execute(
            "CREATE TABLE big AS SELECT repeat('x', 1000) FROM generate_series(1, 5000)"
        )
        rates = []
        deadline = asyncio.get_running_loop().time() + 20
        while not rates or rates[-1] is None or rates[-1] < 50:
            assert asyncio.get_running_loop().time() < deadline, rates
            for _ in range(100):
                await user.fetchval("SELECT 1")
            await asyncio.sleep(0.4)
            figures = await source.figures()
            rates.append(figures["queries"])
        assert rates[0] is None  # no window has passed
        assert figures["storage"] - first["storage"] > 4 << 20
        source.close()
        source.close()
        await user.close()
        await admin.execute("DROP DATABASE squall WITH (FORCE)")
        await admin.close()
        assert await source.figures() == {}  # it can't connect
        source.close()

    asyncio.run(main())
