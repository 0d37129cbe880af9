"""A whole PoP over real sockets: upstream streams over HTTP, KV in memory, the origin a small HTTP server."""

import asyncio
import contextlib
import itertools
import json
import random
import time

import aiohttp
import pytest
from aiohttp import web

from reference_impl.config import ConfigError, Listen, NodeConfig, Upstream
from reference_impl.kv.memory import MemoryKV
from reference_impl.pop.flag_value import Fallback
from reference_impl.pop.role import Pop
from reference_impl.propagation.fanout import FanOut
from reference_impl.propagation.settings import FanOutSettings
from reference_impl.propagation.store import Store
from reference_impl.propagation.types import Change, FlagState
from reference_impl.role import Env
from reference_impl.web import Site, stream_handler

DEADLINE = 8.0
FAST = {
    "poll_interval": 0.2,
    "check_interval": 0.05,
    "reconnect_spread": 0.02,
    "backoff_initial": 0.02,
    "backoff_max": 0.05,
    "upstream_grace": 0.05,
    "retry": {"initial_delay": 0.01},
    "defaults": {"maintenance": True, "greeting": "hello"},
}


def definition(value=True):
    return {
        "state": "ENABLED",
        "variants": {"yes": True, "no": False},
        "defaultVariant": "yes" if value else "no",
    }


class World:
    """Everything around one PoP. Writes reach the streams, the KV and the origin, unless they are broken."""

    def __init__(self):
        self.store = Store()
        self.fanout = FanOut(self.store, FanOutSettings(heartbeat=0.2))
        self.kv = MemoryKV()
        self.alerts = []
        self.lookups = []
        self.hidden = {}  # at the origin, and not on the stream
        self.origin_answers = None
        self.stream_site = Site(dict, lambda: None)
        self.stream_site.get("/stream", stream_handler(self.fanout))
        self.origin_site = Site(dict, lambda: None)
        self.origin_site.get("/v1/orgs/{org}/flags/{key}", self._flag)
        self.origin_site.add("POST", "/alerts", self._alert)
        self.ports = {}

    async def put(self, key, flag):
        seq = self.store.seq + 1
        change = Change(seq, "default", seq, key, flag, at=0)
        self.store.apply(change)
        await self.kv.apply([change])

    async def _flag(self, request):
        self.lookups.append((request.match_info["key"], request.headers["X-Attempt"]))
        if self.origin_answers is not None:
            return web.Response(status=self.origin_answers)
        found = self.hidden.get(request.match_info["key"])
        if found is None:
            return web.json_response({"error": "no such flag"}, status=404)
        seq, flag = found
        return web.json_response({"flag": flag, "version": 1, "seq": seq})

    async def _alert(self, request):
        self.alerts.append(await request.json())
        return web.json_response({})

    async def up(self, name, site):
        await site.start("127.0.0.1", self.ports.get(name, 0))
        self.ports[name] = site.port

    async def stream_up(self):
        self.fanout.resume()
        await self.up("stream", self.stream_site)

    async def stream_down(self):
        self.fanout.suspend("stopping")
        await self.stream_site.stop()

    async def origin_up(self):
        await self.up("origin", self.origin_site)

    async def origin_down(self):
        await self.origin_site.stop()


class Harness:
    def __init__(self, world, pop, session):
        self.world, self.pop, self.session = world, pop, session
        self.url = f"http://127.0.0.1:{pop.server.port}"

    async def evaluate(self, key):
        async with self.session.post(
            f"{self.url}/ofrep/v1/evaluate/flags/{key}", json={}
        ) as answer:
            return answer.status, await answer.json(content_type=None)

    async def value(self, key):
        return (await self.evaluate(key))[1].get("value")

    async def get(self, path, **headers):
        async with self.session.get(self.url + path, headers=headers) as answer:
            return answer.status, await answer.text()

    async def status(self):
        return json.loads((await self.get("/status"))[1])

    async def until(self, what, probe):
        """Wait until `await probe()` gives `what`; at the deadline, say what it gave last."""
        deadline = time.monotonic() + DEADLINE
        while (seen := await probe()) != what:
            assert time.monotonic() < deadline, f"wanted {what!r}, last seen {seen!r}: {self.pop!r}"
            await asyncio.sleep(0.01)

    async def until_level(self, level):
        async def probe():
            return (await self.status())["level"]

        await self.until(level, probe)

    async def path(self):
        steps = (await self.status())["transitions"]
        assert [step["n"] for step in steps] == list(range(1, len(steps) + 1))
        assert all(a["to"] == b["from"] for a, b in itertools.pairwise(steps))
        return [step["to"] for step in steps]


def configured(world, **settings):
    def link(name):
        return [Upstream(name, "hub", "127.0.0.1", world.ports[name])]

    return NodeConfig(
        name="pop-1",
        role="pop",
        listen=Listen("127.0.0.1", 0),
        links={"stream": link("stream"), "origin": link("origin"), "alerts": link("origin")},
        settings={**FAST, **settings},
    )


@contextlib.asynccontextmanager
async def running(*, stream=True, origin=True, kv=True, variant=Pop, **settings):
    world = World()
    await world.stream_up()
    await world.origin_up()
    if not stream:
        await world.stream_down()
    if not origin:
        await world.origin_down()
    world.kv.broken = None if kv else "CONNECTION_REFUSED"
    if kv:
        await world.put("dark-mode", definition())
    else:
        world.store.apply(Change(1, "default", 1, "dark-mode", definition(), at=0))
    env = Env(random.Random(1), time.time_ns, "boot-1")
    pop = variant(configured(world, **settings), env, kv=world.kv)
    await pop.start()
    try:
        async with aiohttp.ClientSession() as session:
            yield Harness(world, pop, session)
    finally:
        async with asyncio.timeout(3.0):
            await pop.stop()
        await world.stream_down()
        await world.origin_down()


@contextlib.asynccontextmanager
async def healthy(**settings):
    async with running(**settings) as at:
        await at.until_level("HEALTHY")
        yield at


def run(course):
    asyncio.run(course())


def test_cold_start_climbs_to_healthy_and_evaluates():
    async def course():
        async with healthy() as at:
            assert (await at.path())[-3:] == ["DEGRADED_L2", "DEGRADED_L1", "HEALTHY"]
            status, answer = await at.evaluate("dark-mode")
            assert (status, answer["value"]) == (200, True)
            expected = {"node": "pop-1", "level": "HEALTHY", "version": 1, "flag_version": 1}
            assert answer["metadata"] == expected

    run(course)


def test_serves_at_once_with_everything_else_down():
    async def course():
        async with running(stream=False, origin=False, kv=False) as at:
            assert (await at.get("/health"))[0] == 200
            status, answer = await at.evaluate("maintenance")
            assert (status, answer["value"]) == (200, True)
            assert answer["metadata"]["level"] == "EMERGENCY"
            assert answer["metadata"]["emergency_mode"] is True
            assert (await at.evaluate("greeting"))[0] == 404
            assert (await at.evaluate("dark-mode"))[0] == 404
            assert (await at.get("/ready"))[0] == 503
            assert (await at.get("/announce"))[0] == 503
            assert (await at.get("/stream"))[0] == 503

            async def errors():
                status = await at.status()
                return [status[name]["error"] for name in ("stream", "kv", "origin")]

            await at.until(["CONNECTION_REFUSED"] * 3, errors)
            assert await at.path() == []

            await at.world.origin_up()
            await at.until_level("DEGRADED_L2")
            assert await at.value("greeting") == "hello"
            await at.world.stream_up()
            await at.until_level("HEALTHY")
            assert await at.value("dark-mode") is True

    run(course)


def test_changes_arrive_by_stream():
    async def course():
        async with healthy() as at:
            await at.world.put("dark-mode", definition(False))
            await at.until(False, lambda: at.value("dark-mode"))
            assert (await at.status())["seq"] == 2

    run(course)


def test_down_the_chain_and_back():
    async def course():
        async with healthy() as at:
            before = len(await at.path())
            await at.world.stream_down()
            await at.until_level("DEGRADED_L1")
            assert (await at.evaluate("dark-mode"))[1]["metadata"]["stale_warning"] is True
            await at.world.put("dark-mode", definition(False))
            await at.until(False, lambda: at.value("dark-mode"))

            at.world.kv.broken = "TIMEOUT"
            await at.until_level("DEGRADED_L2")
            status, answer = await at.evaluate("dark-mode")
            assert (status, answer["value"]) == (200, False)
            assert answer["metadata"]["emergency_mode"] is True
            assert (await at.evaluate("unknown"))[0] == 404
            assert at.world.lookups == []

            await at.world.origin_down()
            await at.until_level("EMERGENCY")
            assert await at.value("maintenance") is True

            await at.world.origin_up()
            await at.until_level("DEGRADED_L2")
            at.world.kv.broken = None
            await at.until_level("DEGRADED_L1")
            await at.world.stream_up()
            await at.until_level("HEALTHY")
            names = ["DEGRADED_L1", "DEGRADED_L2", "EMERGENCY"]
            assert (await at.path())[before:] == [*names, *reversed(names[:-1]), "HEALTHY"]

    run(course)


def test_all_at_once_goes_through_each_level():
    async def course():
        async with healthy() as at:
            before = len(await at.path())
            at.world.kv.broken = "CONNECTION_REFUSED"
            await at.world.origin_down()
            await at.world.stream_down()
            await at.until_level("EMERGENCY")
            assert (await at.path())[before:] == ["DEGRADED_L1", "DEGRADED_L2", "EMERGENCY"]
            assert (await at.status())["origin"] == {"ok": False, "error": "CONNECTION_REFUSED"}

    run(course)


def test_polls_keep_their_cadence_over_the_real_loop():
    async def course():
        async with healthy() as at:
            await at.world.stream_down()
            await at.until_level("DEGRADED_L1")
            started, polls = time.monotonic(), at.pop.degradation.polls

            async def enough():
                return at.pop.degradation.polls - polls >= 4

            await at.until(True, enough)
            assert time.monotonic() - started >= 3 * 0.2 - 0.02

    run(course)


def test_lazy_loading_of_a_flag_that_the_stream_has_not_brought():
    async def course():
        async with healthy() as at:
            at.world.hidden["new"] = (5, definition())
            status, answer = await at.evaluate("new")
            assert (status, answer["value"]) == (200, True)
            assert answer["metadata"]["flag_version"] == 5
            assert await at.value("new") is True
            assert at.world.lookups == [("new", "1")]

    run(course)


def test_unknown_flags_are_not_found_and_asked_for_once():
    async def course():
        async with healthy() as at:
            for _ in range(5):
                status, answer = await at.evaluate("unknown")
                assert (status, answer["errorCode"]) == (404, "FLAG_NOT_FOUND")
                assert "fallback" not in answer["metadata"]
            assert len(at.world.lookups) == 1
            assert (await at.status())["breakers"]["origin"]["failures"] == 0

    run(course)


def test_breaker_opens_after_five_failed_lookups_and_closes_after_three_good_ones():
    async def course():
        async with healthy(breaker={"timeout": 0.3}) as at:
            at.world.origin_answers = 503
            circuits = []
            for i in range(6):
                status, answer = await at.evaluate(f"flag-{i}")
                assert (status, answer["errorCode"]) == (404, "FLAG_NOT_FOUND")
                assert answer["metadata"]["fallback"] is True
                circuits.append(answer["metadata"]["circuit"])
            assert circuits == ["CLOSED"] * 4 + ["OPEN"] * 2
            assert [attempt for _, attempt in at.world.lookups] == ["1", "2", "3"] * 5
            at.world.origin_answers = None
            at.world.hidden["new"] = (5, definition())
            await at.until(True, lambda: at.value("new"))
            for i in range(2):
                await at.evaluate(f"other-{i}")
            breaker = (await at.status())["breakers"]["origin"]
            assert [step["to"] for step in breaker["transitions"]] == [
                "OPEN",
                "HALF_OPEN",
                "CLOSED",
            ]

    run(course)


def test_an_invalid_definition_keeps_the_last_good_one_and_shows_in_status():
    async def course():
        async with healthy() as at:
            await at.world.put("dark-mode", {"state": "PERHAPS"})

            async def rejected():
                return (await at.status())["counters"]["rejected"]

            await at.until(1, rejected)
            assert await at.value("dark-mode") is True

    run(course)


def test_what_upstream_is_behind_never_takes_us_back():
    async def course():
        async with healthy() as at:
            await at.world.put("dark-mode", definition(False))
            await at.until(False, lambda: at.value("dark-mode"))
            await at.world.stream_down()
            old = World()
            await old.put("dark-mode", definition(True))
            old.ports = at.world.ports
            await old.stream_up()
            try:

                async def subscribers():
                    return old.fanout.subscribers

                await at.until(1, subscribers)
                await at.until_level("HEALTHY")
                assert await at.value("dark-mode") is False
                assert (await at.status())["seq"] == 2
            finally:
                await old.stream_down()

    run(course)


def test_a_pop_is_an_upstream_too():
    async def course():
        async with healthy() as at:
            assert (await at.get("/ready"))[0] == 200
            assert (await at.get("/announce"))[0] == 200
            async with at.session.get(at.url + "/stream") as stream:
                assert stream.content_type == "text/event-stream"
                head = await stream.content.readuntil(b"\n\n")
                assert b"event: snapshot\nid: 1\n" in head
                await at.world.put("other", definition())
                seen = b""
                async with asyncio.timeout(DEADLINE):
                    while b"event: change\nid: 2\n" not in seen:
                        seen += await stream.content.readuntil(b"\n\n")
            async with at.session.get(at.url + "/stream", headers={"Last-Event-ID": "1"}) as stream:
                assert b"event: change\nid: 2\n" in await stream.content.readuntil(b"\n\n")
            assert (await at.get("/stream", **{"Last-Event-ID": "x"}))[0] == 400
            await at.world.stream_down()

            async def ready():
                return (await at.get("/ready"))[0]

            await at.until(503, ready)
            await at.world.stream_up()
            await at.until(200, ready)

    run(course)


def test_a_free_organisation_has_a_part_of_requests_and_streams():
    async def course():
        tenants = {"tiers": {"default": "FREE"}, "free": [3, 1, 0], "streams": 4}
        async with healthy(tenants=tenants) as at:
            answers = [await at.evaluate("dark-mode") for _ in range(20)]
            refused = [answer for status, answer in answers if status == 429]
            assert refused
            assert {status for status, _ in answers} == {200, 429}
            assert refused[0] == {"error": "too many requests"}
            own = {"X-Org-Id": "default"}
            async with at.session.get(at.url + "/stream", headers=own) as stream:
                assert stream.status == 200
                async with at.session.get(at.url + "/stream", headers=own) as second:
                    assert (second.status, second.headers["Retry-After"]) == (429, "5")
                async with at.session.get(at.url + "/stream") as node:
                    assert node.status == 200
            other = {"X-Org-Id": "nobody"}
            url = f"{at.url}/ofrep/v1/evaluate/flags/dark-mode"
            for _ in range(20):
                async with at.session.post(url, json={}, headers=other) as answer:
                    assert answer.status == 404

    run(course)


def test_status_says_who_and_how():
    async def course():
        async with healthy() as at:
            status = await at.status()
            assert (status["node"], status["role"], status["boot"]) == ("pop-1", "pop", "boot-1")
            assert status["upstream"] == "stream"
            assert status["stream"]["state"] == "connected"
            assert status["kv"] == {"ok": True, "error": None}
            step = status["transitions"][-1]
            assert step["to"] == "HEALTHY"
            assert 0 <= time.monotonic_ns() - step["at"] < 60e9
            async with at.session.post(at.url + "/status") as refused:
                assert refused.status == 405
            assert (await at.get("/nowhere"))[0] == 404
            assert repr(at.pop).startswith(
                "<Pop pop-1 HEALTHY <Subscriber connected upstream=stream"
            )

    run(course)


def test_a_failover_raises_the_alarm():
    async def course():
        async with healthy() as at:
            config = configured(at.world)
            hub = Upstream("hub-gone", "hub", "127.0.0.1", 1)
            config.links["stream"].insert(0, hub)
            pop = Pop(config, Env(random.Random(2), time.time_ns, "boot-2"), kv=MemoryKV())
            await pop.start()
            try:

                async def alarm():
                    return [alert["name"] for alert in at.world.alerts]

                await at.until(["HUB_FAILOVER"], alarm)
            finally:
                await pop.stop()

    run(course)


def test_a_stream_that_beats_before_it_has_data_is_healthy_with_the_data():
    async def course():
        async with running(stream=False, kv=False) as at:
            data = asyncio.Event()

            async def stream(request):
                response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
                await response.prepare(request)
                await response.write(b'event: heartbeat\ndata: {"seq":0}\n\n')
                await data.wait()
                await response.write(b'event: snapshot\nid: 3\ndata: {"seq":3,"orgs":{}}\n\n')
                await asyncio.sleep(DEADLINE)
                return response

            site = Site(dict, lambda: None)
            site.get("/stream", stream)
            await at.world.up("stream", site)
            try:

                async def state():
                    return (await at.status())["stream"]["state"]

                await at.until("connected", state)
                assert (await at.status())["level"] == "DEGRADED_L2"
                data.set()
                await at.until_level("HEALTHY")
            finally:
                await site.stop()

    run(course)


class FakeOrigin:
    def __init__(self):
        self.flags = {}
        self.asked = []

    async def health(self):
        pass

    async def flag(self, _org, key, _attempt):
        self.asked.append(key)
        await asyncio.sleep(0.5)
        return self.flags.get(key)


def idle_pop(**links):
    """A PoP that isn't started: its parts can be moved by hand."""
    world = World()
    world.ports = {"stream": 1, "origin": 1}
    origin = FakeOrigin()
    config = configured(world)
    config.links.update(links)
    env = Env(random.Random(1), time.time_ns, "boot-1")
    return Pop(config, env, kv=MemoryKV(), origin=None if links else origin), origin


def healthy_idle_pop():
    pop, origin = idle_pop()
    pop.store.apply(Change(1, "default", 1, "dark-mode", definition(), at=0))
    pop.degradation.stream_up()
    assert pop.level == "HEALTHY"
    return pop, origin


def test_the_first_data_over_an_open_stream_is_healthy_at_once(virtual):
    async def course():
        pop, _ = idle_pop()
        pop.degradation.stream_up()
        assert pop.level == "EMERGENCY"
        pop.store.apply(Change(1, "default", 1, "dark-mode", definition(), at=0))
        assert pop.level == "HEALTHY"

    virtual(course())


def test_load_keeps_what_is_newer_and_believes_memory_over_what_is_older(virtual):
    async def course():
        pop, origin = healthy_idle_pop()
        origin.flags = {"new": FlagState(2, definition()), "old": FlagState(1, definition())}
        assert (await pop.load("default", "new")).version == 2
        assert pop.flag("default", "new").version == 2
        assert await pop.load("default", "old") is None
        assert await pop.load("default", "unknown") is None

    virtual(course())


def test_load_does_not_ask_for_a_flag_whose_definition_was_rejected(virtual):
    async def course():
        pop, origin = healthy_idle_pop()
        pop.store.apply(Change(2, "default", 2, "broken", {"state": "PERHAPS"}, at=0))
        assert await pop.load("default", "broken") is None
        assert origin.asked == []

    virtual(course())


def test_no_new_flag_enters_memory_when_the_level_fell_during_the_lookup(virtual):
    async def course():
        pop, origin = healthy_idle_pop()
        origin.flags = {"new": FlagState(2, definition())}
        call = asyncio.create_task(pop.load("default", "new"))
        await asyncio.sleep(0.1)
        pop.degradation.stream_down("TIMEOUT")
        assert pop.level == "EMERGENCY"
        assert await call == Fallback({"fallback": True, "circuit": "CLOSED"})
        assert pop.flag("default", "new") is None

    virtual(course())


def test_load_shares_what_the_stream_brought_meanwhile(virtual):
    async def course():
        pop, origin = healthy_idle_pop()
        origin.flags = {"new": FlagState(2, definition())}
        call = asyncio.create_task(pop.load("default", "new"))
        await asyncio.sleep(0.1)
        pop.store.apply(Change(2, "default", 2, "new", definition(), at=0))
        assert await call is pop.flag("default", "new")

    virtual(course())


def test_without_a_link_to_the_origin_there_is_only_the_fallback(virtual):
    async def course():
        pop, _ = idle_pop(origin=[])
        assert await pop.load("default", "a") == Fallback({"fallback": True, "circuit": "NO_LINK"})
        assert pop.status().breakers == {}

    virtual(course())


def test_a_variant_replaces_one_part():
    class Frozen(Store):
        """Wrong on purpose: deaf to changes."""

        def apply(self, change):
            self.seq = change.seq
            return True

    class Deaf(Pop):
        def make_store(self):
            return Frozen()

    async def course():
        async with healthy(variant=Deaf) as at:
            await at.world.put("dark-mode", definition(False))

            async def seq():
                return (await at.status())["seq"]

            await at.until(2, seq)
            assert await at.value("dark-mode") is True

    run(course)


def test_a_setting_that_cannot_be_right_is_a_config_error():
    world = World()
    world.ports = {"stream": 1, "origin": 1}
    with pytest.raises(ConfigError, match="poll_interval"):
        Pop(configured(world, poll_interval=-1), Env(random.Random(1), time.time_ns, "b"))
