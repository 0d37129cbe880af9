"""Alerts reach a sink, once each, also when the sink comes late."""

import asyncio
import contextlib

import aiohttp
import pytest

from reference_impl.alerts import sender as sender_module
from reference_impl.alerts.role import AlertSink
from reference_impl.alerts.sender import AlertSender
from reference_impl.config import Upstream
from reference_impl.resilience.http import HttpClient
from tests.reference_impl.support import environment, node, own_host, until


@contextlib.asynccontextmanager
async def sending(*sinks):
    http = HttpClient(5.0)
    sender = AlertSender("pop-1", sinks, http, environment())
    task = asyncio.create_task(sender.run())
    try:
        yield sender
    finally:
        task.cancel()
        await asyncio.wait({task})
        await http.close()


def sink_at(host, port):
    return Upstream("alerts", "alerts", host, port)


def test_alerts_arrive_in_order_and_the_first_living_sink_takes_them():
    async def main():
        sink = AlertSink(node("alerts", "alerts"), environment())
        await sink.start()
        dead = sink_at(own_host(), 8080)
        async with sending(dead, sink_at("127.0.0.1", sink.site.port)) as sender:
            for n in range(5):
                sender("HUB_FAILOVER", {"turn": n})
            await until(lambda: len(sink.alerts) == 5, seen=lambda: (sink, sender))
        assert [(a.n, a.name, a.sender, a.data) for a in sink.alerts] == [
            (n + 1, "HUB_FAILOVER", "pop-1", {"turn": n}) for n in range(5)
        ]
        assert [a.at for a in sink.alerts] == sorted(a.at for a in sink.alerts)
        await sink.stop()

    asyncio.run(main())


def test_an_alert_waits_for_its_sink(monkeypatch):
    monkeypatch.setattr(sender_module, "PAUSE", 0.02)

    async def main():
        host = own_host()
        async with sending(sink_at(host, 8080)) as sender:
            sender("REGION_FAILURE_DETECTED", {})
            await asyncio.sleep(0.1)
            sink = AlertSink(node("alerts", "alerts", host=host, port=8080), environment())
            await sink.start()
            await until(lambda: sink.alerts, seen=lambda: sender)
            await sink.stop()
        assert [alert.name for alert in sink.alerts] == ["REGION_FAILURE_DETECTED"]

    asyncio.run(main())


def test_the_same_alert_twice_is_one():
    async def main():
        sink = AlertSink(node("alerts", "alerts"), environment())
        await sink.start()
        url = f"http://127.0.0.1:{sink.site.port}/alerts"
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as http:
            for body in ({"id": "a"}, {"id": "a"}, {"id": "b"}, {}, {}):
                report = {"name": "X", "sender": "s", "data": {}, **body}
                async with http.post(url, json=report) as response:
                    assert response.status == 200
            for since, numbers in (("0", [1, 2, 3, 4]), ("3", [4]), ("9", [])):
                async with http.get(url, params={"since": since}) as response:
                    alerts = (await response.json())["alerts"]
                    assert [alert["n"] for alert in alerts] == numbers
            async with http.get(url, params={"since": "x"}) as response:
                assert response.status == 400
            async with http.post(url, data=b'{"name": 1}') as response:
                assert response.status == 400
        await sink.stop()

    asyncio.run(main())


def test_without_a_sink_it_only_counts():
    async def main():
        async with sending() as sender:
            for _ in range(3):
                sender("X", {})
            assert repr(sender) == "<AlertSender raised=3 waiting=0>"

    asyncio.run(main())


@pytest.mark.parametrize("count", [1500])
def test_the_oldest_go_when_too_many_wait(count):
    async def main():
        sender = AlertSender("n", [sink_at(own_host(), 1)], HttpClient(), environment())
        for n in range(count):
            sender("X", {"n": n})
        assert len(sender._queue) == sender_module.QUEUE
        assert b'"n":500}' in sender._queue[0]

    asyncio.run(main())
