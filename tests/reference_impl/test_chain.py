"""API, stream server and hub together, over real HTTP, with log and KV in memory."""

import asyncio
import contextlib

import aiohttp
import pytest

from reference_impl.alerts.role import AlertSink
from reference_impl.api.role import Api
from reference_impl.hub.role import Hub
from reference_impl.kv.memory import MemoryKV
from reference_impl.propagation import sse
from reference_impl.propagation.types import Change, Snapshot
from reference_impl.storage.memory import MemoryChangeLog, MemoryDatabase
from reference_impl.stream.role import StreamServer
from tests.reference_impl.support import environment, node, until

FAST = {
    "heartbeat": 0.1,
    "reconnect_spread": 0.05,
    "backoff_initial": 0.02,
    "backoff_max": 0.1,
    "return_check": 0.05,
    "return_hold": 0.2,
}
TENANTS = {"tiers": {"acme": "ENTERPRISE", "hobby": "FREE"}, "streams": 4}
HUB = {**FAST, "kv_check": 0.05, "upstream_grace": 0.2, "tenants": TENANTS}
STREAM = {"heartbeat": 0.1, "retry": 0.02, "upstream_grace": 0.2}
ON = {"state": "ENABLED", "variants": {"on": True}, "defaultVariant": "on"}


class Platform:
    """An API server, two stream servers, two hubs with one KV, an alert sink."""

    def __init__(self):
        self.database = MemoryDatabase()
        self.kv = MemoryKV()
        self.env = environment()
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self):
        self.http = await self._stack.enter_async_context(
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10))
        )
        self.api = await self.start(Api(node("api-1", "api"), self.env, self.log(), no_validation))
        self.alerts = await self.start(AlertSink(node("alerts", "alerts"), self.env))
        self.streams = [
            await self.start(StreamServer(node(name, "stream", **STREAM), self.env, self.log()))
            for name in ("stream-1", "stream-2")
        ]
        self.hubs = [await self.start(self.hub(name)) for name in ("hub-1", "hub-2")]
        return self

    async def __aexit__(self, *exc):
        await self._stack.aclose()

    def log(self):
        return MemoryChangeLog(self.database)

    def hub(self, name):
        links = {
            "stream": [
                (role.config.name, "stream", "127.0.0.1", role.site.port) for role in self.streams
            ],
            "alerts": [("alerts", "alerts", "127.0.0.1", self.alerts.site.port)],
        }
        return Hub(node(name, "hub", links=links, **HUB), self.env, kv=self.kv)

    async def start(self, role):
        await role.start()
        self._stack.push_async_callback(role.stop)
        return role

    async def put(self, key, definition=ON, org="acme"):
        url = f"http://127.0.0.1:{self.api.site.port}/v1/orgs/{org}/flags/{key}"
        async with self.http.put(url, json=definition) as response:
            return response.status, await response.json()

    async def get(self, role, path):
        async with self.http.get(f"http://127.0.0.1:{role.site.port}{path}") as response:
            return response.status, await response.json()

    @contextlib.asynccontextmanager
    async def follow(self, role, last_id=None):
        """The messages of a role's stream, without heartbeats."""
        headers = {} if last_id is None else {"Last-Event-ID": str(last_id)}
        url = f"http://127.0.0.1:{role.site.port}/stream"
        async with self.http.get(url, headers=headers) as response:
            assert response.status == 200
            yield messages(response.content)


async def messages(content):
    parser = sse.Parser()
    async for chunk in content.iter_any():
        for event in parser.feed(chunk):
            message = sse.decode(event)
            if isinstance(message, Change | Snapshot):
                yield message


def no_validation(key, definition, evaluators):
    return None


def platform(test):
    def run():
        async def main():
            async with Platform() as it:
                await test(it)

        asyncio.run(main())

    run.__name__ = test.__name__
    return run


async def settled(it, seq):
    stores = [role.store for role in (*it.streams, *it.hubs)]
    await until(
        lambda: all(store.loaded and store.seq == seq for store in stores), seen=lambda: stores
    )


@platform
async def test_a_write_reaches_hubs_and_kv(it):
    assert await it.put("k") == (200, {"org": "acme", "key": "k", "version": 1, "seq": 1})
    await settled(it, 1)
    await until(lambda: it.kv._store.seq == 1, seen=lambda: it.kv)
    assert it.kv._store.snapshot() == it.database.store.snapshot()
    for role in (*it.streams, *it.hubs):
        status, state = await it.get(role, "/status")
        assert status == 200
        assert state["seq"] == 1
        assert state["boot"] == it.env.boot


@platform
async def test_a_stream_begins_with_a_snapshot_and_resumes_by_id(it):
    await it.put("a")
    await it.put("b")
    await settled(it, 2)
    async with it.follow(it.hubs[0]) as stream:
        assert await anext(stream) == it.database.store.snapshot()
        await it.put("c")
        assert (await anext(stream)).seq == 3
    async with it.follow(it.hubs[1], last_id=1) as stream:
        assert [(await anext(stream)).seq for _ in range(2)] == [2, 3]


@platform
async def test_a_subscriber_ahead_of_the_server_waits(it):
    await settled(it, 0)
    async with it.follow(it.hubs[0], last_id=2) as stream:
        for key in ("a", "b", "c"):
            await it.put(key)
        assert (await anext(stream)).seq == 3


@platform
async def test_a_stream_servers_loss_moves_the_hubs_and_is_told(it):
    await it.put("a")
    await settled(it, 1)
    await it.streams[0].stop()
    await it.put("b")
    await until(lambda: all(hub.store.seq == 2 for hub in it.hubs), seen=lambda: it.hubs)
    await until(lambda: len(it.alerts.alerts) == 2, seen=lambda: it.alerts)
    _, body = await it.get(it.alerts, "/alerts?since=1")
    assert [alert["n"] for alert in body["alerts"]] == [2]
    assert {alert.name for alert in it.alerts.alerts} == {"STREAM_FAILOVER"}
    assert {alert.sender for alert in it.alerts.alerts} == {"hub-1", "hub-2"}
    assert it.alerts.alerts[0].data == {
        "failed": "stream-1",
        "to": "stream-2",
        "to_role": "stream",
    }


@platform
async def test_the_kv_may_fail_without_harm_and_is_filled_on_its_return(it):
    await it.put("a")
    await settled(it, 1)
    it.kv.broken = "CONNECTION_REFUSED"
    await it.put("b")
    await settled(it, 2)
    await until(
        lambda: all(hub.writers["kv"].error for hub in it.hubs),
        seen=lambda: it.hubs,
    )
    it.kv.wipe()
    it.kv.broken = None
    await until(lambda: it.kv._store.seq == 2, seen=lambda: it.kv)
    assert it.kv._store.snapshot() == it.database.store.snapshot()


@platform
async def test_a_hub_without_upstream_says_so_and_comes_back(it):
    await settled(it, 0)
    it.database.broken = "TIMEOUT"
    hub = it.hubs[0]
    await until(lambda: hub.fanout.refusing, seen=lambda: hub)
    assert all(role.fanout.refusing for role in it.streams)
    assert (await it.get(hub, "/ready"))[0] == 503
    assert (await it.get(hub, "/stream"))[0] == 503
    it.database.broken = None
    await until(lambda: hub.fanout.unready is None, seen=lambda: hub)
    await it.put("a")
    await settled(it, 1)


@platform
async def test_a_database_that_is_down_refuses_writes(it):
    it.database.broken = "SERVICE_UNAVAILABLE"
    status, body = await it.put("a")
    assert (status, body["outcome"]) == (503, "refused")
    it.database.broken = "TIMEOUT"
    status, body = await it.put("a")
    assert (status, body["outcome"]) == (503, "unknown")
    async with it.http.get(f"http://127.0.0.1:{it.api.site.port}/health") as response:
        assert response.status == 200


@platform
async def test_the_api_reads_what_it_wrote(it):
    await it.put("a")
    await it.put("b")
    url = f"http://127.0.0.1:{it.api.site.port}/v1/orgs/acme/flags"
    async with it.http.delete(f"{url}/a") as response:
        assert await response.json() == {"org": "acme", "key": "a", "version": 3, "seq": 3}
    assert (await it.get(it.api, "/v1/orgs/acme/flags/a"))[0] == 404
    assert await it.get(it.api, "/v1/orgs/acme/flags/b") == (
        200,
        {"flag": ON, "version": 3, "seq": 2, "node": "api-1"},
    )
    listed = {"version": 3, "flags": {"b": {"seq": 2, "flag": ON}}}
    assert await it.get(it.api, "/v1/orgs/acme/flags") == (200, listed)
    assert await it.get(it.api, "/v1/snapshot") == (200, {"seq": 3, "orgs": {"acme": listed}})


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'"x"', b'{"x":"\xff"}', b'{"x":' + b"[" * 99999]
)
def test_what_is_no_definition_is_refused_in_one_line(body):
    async def main():
        async with Platform() as it:
            url = f"http://127.0.0.1:{it.api.site.port}/v1/orgs/acme/flags/a"
            async with it.http.put(url, data=body) as response:
                assert response.status == 400
                assert "\n" not in (await response.json())["error"]
            assert it.database.store.seq == 0

    asyncio.run(main())


@platform
async def test_a_prewarm_goes_up_from_a_hub_and_down_to_all(it):
    await it.put("k")
    await settled(it, 1)
    hot = {"id": "pop-1:boot:1", "org": "acme", "key": "k", "by": "pop-1"}
    url = f"http://127.0.0.1:{it.hubs[0].site.port}/prewarm"
    for body, status in (({"id": "x"}, 400), (hot, 202), (hot, 202)):
        async with it.http.post(url, json=body) as response:
            assert response.status == status
    relays = [role.relay for role in (*it.streams, *it.hubs)]
    await until(lambda: all(relay.passed == 1 for relay in relays), seen=lambda: relays)
    for role in (*it.streams, *it.hubs):
        assert (await it.get(role, "/status"))[1]["prewarms"] == 1


@platform
async def test_a_free_organisation_has_a_part_of_the_streams(it):
    await it.put("k")
    await settled(it, 1)
    url = f"http://127.0.0.1:{it.hubs[0].site.port}/stream"
    async with contextlib.AsyncExitStack() as held:
        answers = [
            await held.enter_async_context(it.http.get(url, headers={"X-Org-Id": org}))
            for org in ("hobby", "hobby", "shop", "acme")
        ]
        assert [answer.status for answer in answers] == [200, 429, 200, 200]
        assert answers[1].headers["Retry-After"] == "5"
    fanout = it.hubs[0].fanout
    await until(lambda: not fanout._places.taken, seen=lambda: fanout._places)
