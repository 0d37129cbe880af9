"""A prewarm reaches every node once, whichever way it goes; in virtual time."""

import asyncio
import random

from reference_impl.config import Upstream
from reference_impl.propagation.fanout import FanOut
from reference_impl.propagation.prewarm import Relay
from reference_impl.propagation.settings import FanOutSettings
from reference_impl.propagation.store import Store
from reference_impl.propagation.types import Prewarm, Snapshot
from reference_impl.resilience.errors import SERVICE_UNAVAILABLE, CallError
from tests.reference_impl.propagation.test_fanout import Reader, publish
from tests.reference_impl.support import run_virtual

HOT = Prewarm("pop-1:boot:1", "acme", "popular", "pop-1")
OTHERS = [Upstream(name, "stream", name, 8080) for name in ("stream-1", "stream-2")]


class Http:
    """Takes what is posted, after `failures` that are not."""

    def __init__(self, failures=0):
        self.failures, self.posts = failures, []

    async def request(self, method, url, *, body, attempt, within):
        assert (method, within) == ("POST", 1.0)
        self.posts.append((url, attempt))
        if attempt <= self.failures:
            raise CallError(SERVICE_UNAVAILABLE, "not now")


def world(test, failures=0):
    async def main():
        store = Store()
        store.replace(Snapshot(0, {}))
        fanout, http = FanOut(store, FanOutSettings()), Http(failures)
        relay = Relay(fanout, OTHERS, http, random.Random(1))
        running = asyncio.create_task(relay.run())
        try:
            await test(relay, fanout, store, http)
        finally:
            running.cancel()
            await asyncio.wait({running})

    run_virtual(main())


def test_what_is_told_goes_up_and_down_once():
    async def test(relay, fanout, store, http):
        taken = []
        relay.taken = taken.append
        readers = [Reader(fanout) for _ in range(3)]
        await asyncio.sleep(0.1)
        publish(store, 1, 2)
        relay.tell(HOT)
        relay.told(HOT)
        relay.tell(HOT)
        await asyncio.sleep(0.5)
        assert taken == [HOT]
        assert http.posts == [(f"http://stream-{n}:8080/prewarm", 1) for n in (1, 2)]
        for reader in readers:
            assert reader.messages(Prewarm) == [HOT]
            assert [change.seq for change in reader.messages()][-2:] == [1, 2]

    world(test)


def test_what_came_down_goes_only_further_down():
    async def test(relay, fanout, _, http):
        reader = Reader(fanout)
        await asyncio.sleep(0.1)
        relay.told(HOT)
        await asyncio.sleep(0.5)
        assert reader.messages(Prewarm) == [HOT]
        assert http.posts == []

    world(test)


def test_others_are_asked_again_and_given_up_at_last():
    async def test(relay, _, __, http):
        relay.tell(HOT)
        await asyncio.sleep(5)
        assert sorted(http.posts) == [
            (f"http://stream-{n}:8080/prewarm", attempt) for n in (1, 2) for attempt in (1, 2, 3)
        ]
        assert relay.failed == 2
        relay.tell(Prewarm("pop-1:boot:2", "acme", "popular", "pop-1"))  # and it goes on
        await asyncio.sleep(5)
        assert len(http.posts) == 12

    world(test, failures=3)


def test_a_subscriber_that_takes_nothing_is_told_only_so_much():
    async def test(relay, fanout, _, __):
        reader = Reader(fanout)
        await asyncio.sleep(0.1)
        reader.gate.clear()
        for n in range(5_000):
            relay.told(Prewarm(f"pop-1:boot:{n}", "acme", f"k{n}", "pop-1"))
            await asyncio.sleep(0)
        reader.gate.set()
        await asyncio.sleep(0.5)
        assert 0 < len(reader.messages(Prewarm)) < 1_000

    world(test)
