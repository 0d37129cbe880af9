"""The subscriber against upstreams in memory: real FanOuts behind a client that can be broken in every way;
in virtual time."""

import asyncio
import random
from contextlib import asynccontextmanager

import pytest

from reference_impl.config import Upstream
from reference_impl.propagation import sse
from reference_impl.propagation.fanout import FanOut
from reference_impl.propagation.settings import FanOutSettings, FollowSettings
from reference_impl.propagation.store import Store
from reference_impl.propagation.subscriber import Subscriber, SubscriberState
from reference_impl.propagation.types import Change, FlagState, Heartbeat, OrgState, Snapshot
from reference_impl.resilience.errors import CONNECTION_REFUSED, CallError
from tests.reference_impl.support import run_virtual

FAST = FollowSettings(
    heartbeat_timeout=0.3,
    connect_timeout=0.2,
    reconnect_spread=0.05,
    backoff_initial=0.01,
    backoff_max=0.05,
    return_check=0.02,
    return_hold=0.1,
    patience=0.0,
)
HUB_1, HUB_2, ORIGIN = (
    Upstream(name, role, "127.0.0.1", 1)
    for name, role in (("hub-1", "hub"), ("hub-2", "hub"), ("stream-1", "stream"))
)


def change(seq, key="k"):
    return Change(seq, "acme", seq, key, {"state": "ENABLED", "seq": seq}, 0)


class Server:
    """One upstream. `scripts`: raw answers that take the place of the real stream, one for each connection."""

    def __init__(self):
        self.store = Store()
        self.store.replace(Snapshot(0, {}))
        self.fanout = FanOut(self.store, FanOutSettings(heartbeat=0.05))
        self.error = None
        self.hung = False
        self.scripts = []
        self.last_ids = []
        self.pumps = set()

    def fail(self, kind=CONNECTION_REFUSED):
        self.error = kind
        for pump in self.pumps:
            pump.cancel()


class Network:
    """A `StreamClient` to servers in memory."""

    def __init__(self, servers):
        self.servers = servers
        self.tried = []

    @asynccontextmanager
    async def open(self, upstream, last_id, within):
        server = self.servers[upstream.to]
        self.tried.append(upstream.to)
        server.last_ids.append(last_id)
        if server.error:
            raise CallError(server.error, upstream.to)
        if server.scripts:
            yield self._scripted(server.scripts.pop(0))
            return
        queue = asyncio.Queue()
        pump = asyncio.create_task(self._pump(server, last_id, queue))
        server.pumps.add(pump)
        try:
            yield self._drain(server, queue)
        finally:
            pump.cancel()
            server.pumps.discard(pump)

    async def ready(self, upstream, within):
        server = self.servers[upstream.to]
        return server.error is None and server.fanout.unready is None

    @staticmethod
    async def _pump(server, last_id, queue):
        try:
            await server.fanout.serve(last_id, queue.put)
        finally:
            queue.put_nowait(b"")

    @staticmethod
    async def _drain(server, queue):
        while chunk := await queue.get():
            if server.hung:
                await asyncio.Event().wait()
            yield chunk

    @staticmethod
    async def _scripted(messages):
        for message in messages:
            yield message if isinstance(message, bytes) else sse.encode(message)


class World:
    """A subscriber with its servers, and what it told."""

    def __init__(self, settings=FAST, upstreams=(HUB_1, HUB_2, ORIGIN)):
        self.servers = {upstream.to: Server() for upstream in upstreams}
        self.network = Network(self.servers)
        self.store = Store()
        self.alerts = []
        self.ups = 0
        self.downs = 0
        self.subscriber = Subscriber(
            upstreams,
            self.store,
            self.network,
            settings,
            random.Random(7),
            alert=lambda name, data: self.alerts.append((name, data)),
            connected=lambda: setattr(self, "ups", self.ups + 1),
            disconnected=lambda: setattr(self, "downs", self.downs + 1),
        )

    def publish(self, *changes):
        for server in self.servers.values():
            for one in changes:
                assert server.store.apply(one)

    async def __aenter__(self):
        self.task = asyncio.create_task(self.subscriber.run())
        return self

    async def __aexit__(self, *exc):
        self.task.cancel()
        await asyncio.wait({self.task})
        assert self.task.cancelled(), self.task.exception()

    async def until(self, condition, within=5.0):
        deadline = asyncio.get_running_loop().time() + within
        while not condition():
            assert not self.task.done(), self.task
            assert asyncio.get_running_loop().time() < deadline, repr(self.subscriber)
            await asyncio.sleep(0.005)

    async def connected_to(self, name):
        await self.until(
            lambda: (
                self.subscriber.state is SubscriberState.CONNECTED
                and self.subscriber.upstream.to == name
            )
        )


def run(scenario, *args, **kwargs):
    async def main():
        async with World(*args, **kwargs) as world:
            await scenario(world)

    run_virtual(main())


def test_follows_the_first_upstream():
    async def scenario(world):
        await world.connected_to("hub-1")
        world.publish(change(1), change(2))
        await world.until(lambda: world.store.seq == 2)
        assert world.alerts == []
        assert (world.ups, world.downs) == (1, 0)

    run(scenario)


def test_moves_to_the_backup_and_resumes_by_id():
    async def scenario(world):
        world.publish(change(1))
        await world.until(lambda: world.store.seq == 1)
        world.servers["hub-1"].fail()
        world.publish(change(2))
        await world.connected_to("hub-2")
        await world.until(lambda: world.store.seq == 2)
        assert world.servers["hub-2"].last_ids == [1]
        assert world.alerts == [
            ("HUB_FAILOVER", {"failed": "hub-1", "to": "hub-2", "to_role": "hub"})
        ]
        assert (world.ups, world.downs) == (2, 1)

    run(scenario)


def test_falls_back_to_the_origin_when_no_hub_is_left():
    async def scenario(world):
        await world.connected_to("hub-1")
        world.servers["hub-2"].fail()
        world.servers["hub-1"].fail()
        await world.connected_to("stream-1")
        assert [name for name, _ in world.alerts] == ["HUB_FAILOVER"]
        assert world.alerts[0][1]["to"] == "stream-1"

    run(scenario)


def test_a_hung_upstream_is_left_after_the_heartbeat_timeout():
    async def scenario(world):
        await world.connected_to("hub-1")
        world.servers["hub-1"].hung = True
        await world.connected_to("hub-2")
        assert world.network.tried[:2] == ["hub-1", "hub-2"]

    run(scenario)


def test_goes_back_without_interruption_when_the_preferred_is_well_again():
    async def scenario(world):
        world.servers["hub-1"].fail()
        await world.connected_to("hub-2")
        world.servers["hub-1"].error = None
        await world.connected_to("hub-1")
        assert (world.ups, world.downs) == (1, 0)
        world.publish(change(1))
        await world.until(lambda: world.store.seq == 1)
        await world.until(lambda: not world.servers["hub-2"].pumps)

    run(scenario)


def test_without_failover_it_stays_with_the_first():
    async def scenario(world):
        world.servers["hub-1"].fail()
        await world.until(lambda: len(world.network.tried) >= 4)
        assert set(world.network.tried) == {"hub-1"}

    run(
        scenario,
        FollowSettings(failover=False, backoff_initial=0.001, backoff_max=0.01),
    )


def test_a_new_subscriber_is_patient_with_its_preferred_upstream():
    async def scenario(world):
        loop = asyncio.get_running_loop()
        world.servers["hub-1"].fail()
        await world.until(lambda: "hub-2" in world.network.tried)
        assert loop.time() >= 1.0
        assert world.network.tried.count("hub-1") > 2

    run(scenario, FollowSettings(**{**_fields(FAST), "patience": 1.0}))


def test_one_that_had_a_stream_is_not_patient_any_more():
    async def scenario(world):
        await world.connected_to("hub-1")
        begin = asyncio.get_running_loop().time()
        world.servers["hub-1"].fail()
        await world.connected_to("hub-2")
        assert asyncio.get_running_loop().time() - begin < 1.0

    run(scenario, FollowSettings(**{**_fields(FAST), "patience": 60.0}))


def test_a_gap_is_filled_by_a_snapshot():
    async def scenario(world):
        await world.until(lambda: world.store.seq == 3)
        assert world.servers["hub-1"].last_ids == [None, None]
        assert world.subscriber.resyncs == 1
        assert world.store.orgs["acme"].flags["k"].seq == 3

    world = World()
    world.servers["hub-1"].scripts = [[Snapshot(0, {}), change(1), change(3)]]
    world.publish(change(1), change(2), change(3))
    run_virtual(_within(world, scenario))


def test_a_heartbeat_beyond_our_position_is_a_gap():
    async def scenario(world):
        await world.until(lambda: world.store.seq == 2)
        assert world.subscriber.resyncs == 1

    world = World()
    world.servers["hub-1"].scripts = [[Snapshot(0, {}), change(1), Heartbeat(2)]]
    world.publish(change(1), change(2))
    run_virtual(_within(world, scenario))


def test_gaps_that_never_fill_move_it_on():
    async def scenario(world):
        await world.connected_to("hub-2")
        assert world.network.tried.count("hub-1") >= 4

    world = World()
    world.servers["hub-1"].scripts = [[Snapshot(0, {}), Heartbeat(5)]] * 4
    run_virtual(_within(world, scenario))


GOOD = Snapshot(5, {"acme": OrgState(5, {"k": FlagState(5, {"state": "ENABLED"})})})


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("an older snapshot", [Snapshot(3, {"acme": OrgState(3, {})})]),
        ("an empty snapshot", [Snapshot(9, {})]),
        ("damaged JSON", [b"event: change\nid: 6\ndata: {nonsense\n\n"]),
        ("a wrong type", [b'event: snapshot\nid: 6\ndata: {"seq":"six","orgs":[]}\n\n']),
        ("an old change", [change(2)]),
        ("nothing at all", []),
    ],
)
def test_good_data_stays_whatever_comes(name, answer):
    async def scenario(world):
        await world.connected_to("hub-2")
        assert world.store.snapshot() == GOOD

    world = World(FollowSettings(**{**_fields(FAST), "return_hold": 60.0}))
    world.store.replace(GOOD)
    world.servers["hub-1"].scripts = [answer]
    run_virtual(_within(world, scenario))


@pytest.mark.parametrize("kind", ["HTTP_401", "HTTP_403", "SERVICE_UNAVAILABLE", "TIMEOUT"])
def test_an_error_is_seen_and_changes_nothing(kind):
    async def scenario(world):
        await world.until(lambda: len(world.network.tried) > 4)
        assert world.subscriber.error.kind == kind
        assert world.store.snapshot() == GOOD

    world = World()
    world.store.replace(GOOD)
    for server in world.servers.values():
        server.error = kind
    run_virtual(_within(world, scenario))


def test_reconnections_are_spread():
    """Many who lose one upstream come back over the whole spread, by chance alone."""
    delays = sorted(_subscriber(seed)._delay(0) for seed in range(400))
    assert delays[0] >= 0
    assert delays[-1] <= 2.0
    for tenth in range(10):
        inside = sum(tenth * 0.2 <= delay < (tenth + 1) * 0.2 for delay in delays)
        assert 15 <= inside <= 70


def test_later_tries_back_off_up_to_the_cap():
    subscriber = _subscriber(1)
    for failures in range(1, 200):
        assert 0 <= subscriber._delay(failures) <= min(0.2 * 2 ** (failures - 1), 5.0)
    assert max(subscriber._delay(50) for _ in range(200)) > 4.5


def _subscriber(seed):
    return Subscriber(
        [HUB_1], Store(), Network({}), FollowSettings(), random.Random(seed), alert=print
    )


def _fields(settings):
    return {name: getattr(settings, name) for name in settings.__struct_fields__}


async def _within(world, scenario):
    async with world:
        await scenario(world)
