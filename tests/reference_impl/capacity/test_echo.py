"""How long heartbeats take to PoPs: measured by the hub's clock alone."""

import asyncio
import contextlib

import aiohttp
import pytest

from reference_impl.capacity.echo import Echo, Echoes
from reference_impl.config import Upstream
from reference_impl.propagation.types import Heartbeat
from reference_impl.resilience.errors import TIMEOUT, CallError
from reference_impl.web import Site
from tests.reference_impl.support import run_virtual, until

HUB = Upstream("hub-1", "hub", "127.0.0.1", 1)


def ns(seconds):
    return round(seconds * 1e9)


def test_the_99th_percentile_of_the_window():
    async def main():
        echoes = Echoes(10.0)
        assert echoes.p99_ms() is None
        await asyncio.sleep(1)
        for n in range(99):
            echoes.take(ns(1 - 0.001 * (n + 1)))
        assert echoes.p99_ms() == pytest.approx(99.0)
        await asyncio.sleep(5)
        echoes.take(ns(5.5))  # one of a hundred is slower: the 99th is not
        assert echoes.p99_ms() == pytest.approx(99.0)
        await asyncio.sleep(5.001)
        assert echoes.p99_ms() == pytest.approx(500.0)  # all others are too old
        await asyncio.sleep(6)
        assert echoes.p99_ms() is None

    run_virtual(main())


def test_one_from_the_future_is_refused():
    async def main():
        with pytest.raises(ValueError, match="from now"):
            Echoes(1.0).take(ns(5))

    run_virtual(main())


class SlowHttp:
    def __init__(self):
        self.sent, self.release, self.fail = [], asyncio.Event(), False

    async def request(self, method, url, *, body, within):
        self.sent.append((method, url, body))
        await self.release.wait()
        if self.fail:
            raise CallError(TIMEOUT, "no")


def test_a_pop_echoes_stamps_one_at_a_time_and_minds_no_failure():
    async def main():
        http = SlowHttp()
        echo = Echo(http)
        echo(HUB, Heartbeat(5))  # not stamped: nobody asks
        await asyncio.sleep(0)
        assert http.sent == []
        echo(HUB, Heartbeat(5, 77))
        await asyncio.sleep(0)
        echo(HUB, Heartbeat(5, 78))
        await asyncio.sleep(0)
        assert http.sent == [("POST", "http://127.0.0.1:1/echo", b'{"at":77}')]
        http.fail = True
        http.release.set()
        await asyncio.sleep(0.01)
        echo(HUB, Heartbeat(5, 79))
        await asyncio.sleep(0)
        assert http.sent[-1][2] == b'{"at":79}'
        echo.stop()
        echo.stop()

    run_virtual(main())


@contextlib.asynccontextmanager
async def served(echoes):
    site = Site(dict, lambda: None)
    site.add("POST", "/echo", echoes.handle)
    await site.start("127.0.0.1", 0)
    try:
        async with aiohttp.ClientSession() as http:
            yield f"http://127.0.0.1:{site.port}/echo", http
    finally:
        await site.stop()


def test_over_http():
    async def main():
        echoes = Echoes(60.0)
        now = ns(asyncio.get_running_loop().time())
        async with served(echoes) as (url, http):
            async with http.post(url, json={"at": now - ns(0.25)}) as answer:
                assert answer.status == 200
            for bad in (b"?", b'{"at":"x"}', b'{"at":%d}' % (now + ns(60))):
                async with http.post(url, data=bad) as answer:
                    assert answer.status == 400, bad
        await until(lambda: 250 <= echoes.p99_ms() < 5000, seen=lambda: echoes)

    asyncio.run(main())
