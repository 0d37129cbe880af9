"""The advisor as a node: its feed, its alerts, and hubs and PoPs that it watches."""

import asyncio

import aiohttp
import pytest

from reference_impl.alerts.role import AlertSink
from reference_impl.capacity.role import Advisor
from reference_impl.capacity.sources import MemorySource
from reference_impl.capacity.thresholds import Kind
from reference_impl.config import ConfigError
from reference_impl.hub.role import Hub
from reference_impl.pop.role import Pop
from reference_impl.storage.memory import MemoryChangeLog, MemoryDatabase
from reference_impl.stream.role import StreamServer
from tests.reference_impl.support import environment, node, own_host, until

FAST = {"interval": 0.02, "hold": 0.1}
STREAM = {"heartbeat": 0.05, "reconnect_spread": 0.05}


async def fetch(url):
    async with aiohttp.ClientSession() as http, http.get(url) as answer:
        return answer.status, await answer.json()


def link(role, kind):
    return (role.config.name, kind, "127.0.0.1", role.site.port)


def test_the_feed_and_an_alert_for_each_entry():
    async def main():
        sink = AlertSink(node("alerts", "alerts"), environment())
        await sink.start()
        shard = MemorySource(Kind.ADD_SHARD, "db-3")
        config = node("advisor", "advisor", links={"alerts": [link(sink, "alerts")]}, **FAST)
        advisor = Advisor(config, environment(), [shard])
        await advisor.start()
        url = f"http://127.0.0.1:{advisor.site.port}"
        shard.now = {"queries": 50_001, "storage": 1}
        await until(lambda: len(advisor.feed) == 1, seen=lambda: advisor)
        shard.now = {"queries": 10, "storage": 1}
        await until(lambda: len(advisor.feed) == 2, seen=lambda: advisor)
        _, told = await fetch(f"{url}/recommendations")
        first, second = told["recommendations"]
        assert (first["n"], first["kind"], first["node"]) == (1, "add_shard", "db-3")
        assert (first["metric"], first["value"], first["threshold"]) == ("queries", 50_001, 50_000)
        assert (first["state"], second["state"]) == ("raised", "withdrawn")
        assert 0 < first["at"] < second["at"]
        assert (await fetch(f"{url}/recommendations?since=1"))[1]["recommendations"] == [second]
        assert (await fetch(f"{url}/recommendations?since=x"))[0] == 400
        await until(lambda: len(sink.alerts) == 2, seen=lambda: sink)
        names = [alert.name for alert in sink.alerts]
        assert names == ["SCALING_RECOMMENDED", "SCALING_WITHDRAWN"]
        assert sink.alerts[0].data["node"] == "db-3"
        _, status = await fetch(f"{url}/status")
        assert status["figures"] == {"db-3": {"queries": 10, "storage": 1}}
        await advisor.stop()
        await sink.stop()

    asyncio.run(main())


def test_what_it_reads_of_hubs_and_of_who_follows_them():
    """A PoP and a hub follow a hub: one of its two connections is a PoP, and its heartbeats are echoed."""

    async def main():
        env = environment()
        log = MemoryChangeLog(MemoryDatabase())
        stream = StreamServer(node("stream-1", "stream", heartbeat=0.05), env, log)
        await stream.start()
        up = {"stream": [link(stream, "stream")]}
        hub = Hub(node("hub-1", "hub", links=up, **STREAM), env)
        await hub.start()
        up = {"stream": [link(hub, "hub")]}
        pop = Pop(node("pop-1", "pop", host=own_host(), port=8080, links=up, **STREAM), env)
        other = Hub(node("hub-2", "hub", links=up, **STREAM), env)
        await pop.start()
        await other.start()
        watch = {"watch": [link(stream, "stream"), link(hub, "hub")]}
        limits = {"hub": {"pops": 0.5}, "stream": {"connections": 5}}
        advisor = Advisor(node("advisor", "advisor", links=watch, **FAST, **limits), env)
        await advisor.start()
        try:
            await until(lambda: advisor.feed, seen=lambda: (advisor, hub, pop))
            [said] = advisor.feed
            assert (said.kind, said.node, said.metric, said.value) == (
                "add_hub",
                "hub-1",
                "pops",
                1,
            )
            seen = advisor._seen
            await until(lambda: seen["hub-1"]["latency_p99_ms"], seen=lambda: seen)
            assert 0 < seen["hub-1"]["latency_p99_ms"] < 5000
            await until(lambda: seen["hub-1"]["connections"] == 2, seen=lambda: seen)
            assert seen["stream-1"]["connections"] == 1
        finally:
            for role in (advisor, other, pop, hub, stream):
                await role.stop()

    asyncio.run(main())


def test_what_has_no_thresholds_is_not_watched():
    with pytest.raises(ConfigError, match="a pop has no thresholds: pop-1"):
        Advisor(
            node("advisor", "advisor", links={"watch": [("pop-1", "pop", "127.0.0.1", 1)]}),
            environment(),
        )
