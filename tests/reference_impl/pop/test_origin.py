import asyncio
import random

import aiohttp.web
import pytest

from reference_impl.config import Upstream
from reference_impl.pop.origin import (
    ABSENT,
    Absent,
    HttpOrigin,
    LookupSettings,
    NamedOrigin,
    ReadThrough,
    Unavailable,
)
from reference_impl.propagation.types import FlagState
from reference_impl.resilience.breaker import Breaker, BreakerSettings, State
from reference_impl.resilience.errors import CallError
from reference_impl.resilience.http import HttpClient
from reference_impl.resilience.retry import RetrySettings
from reference_impl.tenants.tiers import Places, TenantSettings, Tier

FLAG = FlagState(7, {"state": "ENABLED"})


class FakeOrigin:
    def __init__(self, **flags):
        self.flags = flags
        self.broken = None
        self.takes = 0.05
        self.calls = []

    async def health(self):
        if self.broken:
            raise CallError(self.broken)

    async def flag(self, org, key, attempt):
        self.calls.append((key, attempt))
        await asyncio.sleep(self.takes)
        if self.broken:
            raise CallError(self.broken)
        return self.flags.get(key)


def made(origin, tiers=None, **settings):
    lookup = LookupSettings(**settings)
    tenants = TenantSettings(tiers=tiers or {})
    return ReadThrough(
        origin,
        Breaker("origin", BreakerSettings()),
        RetrySettings(),
        lookup,
        random.Random(1),
        Places(tenants, lookup.concurrent),
    )


def test_found_flags_come_with_their_position(virtual):
    async def course():
        return await made(FakeOrigin(a=FLAG)).lookup("acme", "a")

    assert virtual(course()) is FLAG


def test_absence_is_remembered_for_its_ttl_and_counts_as_success(virtual):
    async def course():
        origin = FakeOrigin()
        reads = made(origin)
        for _ in range(50):
            assert await reads.lookup("acme", "a") is ABSENT
        assert len(origin.calls) == 1
        await asyncio.sleep(1.1)
        origin.flags["a"] = FLAG
        assert await reads.lookup("acme", "a") is FLAG
        assert reads.breaker.state is State.CLOSED
        assert reads.breaker.failure_count == 0

    virtual(course())


def test_concurrent_lookups_of_one_key_share_one_call(virtual):
    async def course():
        origin = FakeOrigin(a=FLAG, b=FLAG)
        reads = made(origin)
        keys = ["a"] * 20 + ["b"] * 20
        found = await asyncio.gather(*(reads.lookup("acme", key) for key in keys))
        assert found == [FLAG] * 40
        assert sorted(origin.calls) == [("a", 1), ("b", 1)]
        assert (reads.lookups, reads.shared) == (2, 38)

    virtual(course())


def test_a_caller_who_hangs_up_does_not_spoil_it_for_the_others(virtual):
    async def course():
        origin = FakeOrigin(a=FLAG)
        reads = made(origin)
        first = asyncio.create_task(reads.lookup("acme", "a"))
        second = asyncio.create_task(reads.lookup("acme", "a"))
        await asyncio.sleep(0.01)
        first.cancel()
        assert await second is FLAG
        assert origin.calls == [("a", 1)]

    virtual(course())


def test_retries_inside_breaker_outside(virtual):
    async def course():
        origin = FakeOrigin()
        origin.broken = "TIMEOUT"
        reads = made(origin)
        assert await reads.lookup("acme", "a") == Unavailable(State.CLOSED, "TIMEOUT")
        assert origin.calls == [("a", 1), ("a", 2), ("a", 3)]
        assert reads.breaker.failure_count == 1

    virtual(course())


def test_five_failures_open_the_circuit_then_nobody_is_asked_for_thirty_seconds(virtual):
    async def course():
        origin = FakeOrigin(a=FLAG)
        origin.broken = "CONNECTION_REFUSED"
        reads = made(origin)
        answers = [await reads.lookup("acme", "a") for _ in range(5)]
        assert [answer.circuit for answer in answers] == [State.CLOSED] * 4 + [State.OPEN]
        origin.calls.clear()
        origin.broken = None
        await asyncio.sleep(29.9)
        assert await reads.lookup("acme", "a") == Unavailable(State.OPEN)
        assert origin.calls == []
        await asyncio.sleep(0.2)
        for state in (State.HALF_OPEN, State.HALF_OPEN, State.CLOSED):
            assert await reads.lookup("acme", "a") is FLAG
            assert reads.breaker.state is state

    virtual(course())


def test_more_lookups_at_once_than_allowed_get_the_fallback(virtual):
    async def course():
        origin = FakeOrigin()
        reads = made(origin, concurrent=2)
        found = await asyncio.gather(*(reads.lookup("acme", key) for key in "abc"))
        assert found == [ABSENT, ABSENT, Unavailable(State.CLOSED)]
        assert await reads.lookup("acme", "c") is ABSENT

    virtual(course())


def test_close_ends_calls_under_way(virtual):
    async def course():
        origin = FakeOrigin()
        origin.takes = 1000
        reads = made(origin)
        call = asyncio.create_task(reads.lookup("acme", "a"))
        await asyncio.sleep(0.01)
        await reads.close()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert (
            repr(reads)
            == "<ReadThrough <Breaker origin CLOSED failures=0 successes=0>, 0 under way>"
        )

    virtual(course())


async def serving(handler):
    app = aiohttp.web.Application()
    app.router.add_get("/{path:.*}", handler)
    runner = aiohttp.web.AppRunner(app)
    await runner.setup()
    await aiohttp.web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, Upstream("api", "api", *runner.addresses[0])


def against(handler, use, upstreams=lambda up: [up]):
    async def course():
        runner, upstream = await serving(handler)
        http = HttpClient(timeout=2.0)
        try:
            return await use(HttpOrigin(http, upstreams(upstream)))
        finally:
            await http.close()
            await runner.cleanup()

    return asyncio.run(course())


def test_http_asks_with_quoted_names_and_numbered_attempts():
    seen = []

    async def handler(request):
        seen.append((request.raw_path, request.headers["X-Attempt"]))
        return aiohttp.web.json_response({"flag": {"state": "ENABLED"}, "version": 3, "seq": 7})

    found = against(handler, lambda origin: origin.flag("a/b", "c d/é", 2))
    assert found == FLAG
    assert seen == [("/v1/orgs/a%2Fb/flags/c%20d%2F%C3%A9", "2")]


@pytest.mark.parametrize("path", [".", "..", "a?b#c"])
def test_http_never_leaves_the_path_of_flags(path):
    seen = []

    async def handler(request):
        seen.append(request.raw_path)
        return aiohttp.web.json_response({"error": "no such flag"}, status=404)

    assert against(handler, lambda origin: origin.flag("acme", path, 1)) is None
    assert all(path.startswith("/v1/orgs/acme/flags/") for path in seen)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (503, "{}", "SERVICE_UNAVAILABLE"),
        (500, "{}", "HTTP_500"),
        (200, "no json", "INVALID"),
        (200, "{}", "INVALID"),
    ],
)
def test_http_failures_are_call_errors(status, body, kind):
    async def handler(_request):
        return aiohttp.web.Response(status=status, text=body)

    with pytest.raises(CallError) as error:
        against(handler, lambda origin: origin.flag("acme", "a", 1))
    assert error.value.kind == kind


def test_http_goes_to_the_next_link_where_nobody_listens():
    async def handler(_request):
        return aiohttp.web.Response(text="ok")

    def upstreams(up):
        return [Upstream("gone", "api", "127.0.0.1", 1), up]

    against(handler, lambda origin: origin.health(), upstreams)


def test_a_named_origin_is_asked_where_its_name_leads():
    class Names:
        addresses: tuple[str, ...] = ("127.0.0.5",)

        async def resolve(self, name):
            assert name == "api.flags.example.com"
            return self.addresses

    async def main():
        asked = []

        def serving(name):
            async def serve(_):
                asked.append(name)
                return aiohttp.web.json_response({})

            return serve

        runners, links = [], []
        for n, name in enumerate(("lb-us", "lb-eu")):
            app = aiohttp.web.Application()
            app.router.add_get("/health", serving(name))
            runner = aiohttp.web.AppRunner(app)
            await runner.setup()
            await aiohttp.web.TCPSite(runner, "127.0.0.1", 0).start()
            runners.append(runner)
            links.append(Upstream(name, "balancer", *runner.addresses[0], f"127.0.0.{5 + n}"))
        http, names = HttpClient(), Names()
        origin = NamedOrigin(http, links, "api.flags.example.com", names)
        await origin.health()
        names.addresses = ("127.0.0.6", "127.0.0.5")
        await origin.health()
        assert asked == ["lb-us", "lb-eu"]
        assert origin.at == "lb-eu"
        names.addresses = ("127.0.0.99",)
        with pytest.raises(CallError, match="no link to where"):
            await origin.health()
        await http.close()
        for runner in runners:
            await runner.cleanup()

    asyncio.run(main())


def test_a_free_organisations_lookups_leave_an_enterprises_alone(virtual):
    async def course():
        tiers = {"hobby": Tier.FREE, "acme": Tier.ENTERPRISE}
        reads = made(FakeOrigin(), tiers, concurrent=8)
        flood = [asyncio.create_task(reads.lookup("hobby", f"k{n}")) for n in range(50)]
        await asyncio.sleep(0)
        others = await asyncio.gather(
            *(reads.lookup(org, f"k{n}") for org in ("acme", "shop") for n in range(6))
        )
        return await asyncio.gather(*flood), others, await reads.lookup("hobby", "later")

    flood, others, later = virtual(course())
    assert [isinstance(found, Absent) for found in flood].count(True) == 2
    assert all(isinstance(found, Absent) for found in others)
    assert isinstance(later, Absent)  # places are given back
