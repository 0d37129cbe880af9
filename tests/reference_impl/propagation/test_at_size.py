"""Two thousand PoPs behind forty hubs: the platform's own modules in virtual time, with memory for a network.

A simulation: what is counted (connections, bytes, changes, who is where when) is what the modules do; what they cost is not in it.
"""

import asyncio
import contextlib
import random
from collections import Counter

from reference_impl.config import Upstream
from reference_impl.propagation.fanout import FanOut
from reference_impl.propagation.settings import FollowSettings
from reference_impl.propagation.store import Store
from reference_impl.propagation.subscriber import Subscriber
from reference_impl.propagation.types import Change, OrgState, Snapshot
from reference_impl.resilience.errors import CONNECTION_REFUSED, CONNECTION_RESET, CallError
from tests.reference_impl.support import run_virtual

SETTINGS = FollowSettings()


def change(seq):
    return Change(seq, "acme", seq, f"k{seq}", {"state": "ENABLED", "n": seq}, 0)


class Server:
    """Serves what a store knows; counts bytes, and when who came."""

    def __init__(self, name, role):
        self.name, self.role = name, role
        self.store = Store()
        self.fanout = FanOut(self.store, SETTINGS)
        self.sent = 0
        self.came = []
        self.dead = False
        self.streams = set()

    def die(self):
        self.dead = True
        for task in self.streams:
            task.cancel()


class Network:
    """A `StreamClient` to servers in this process."""

    def __init__(self, servers):
        self.servers = {server.name: server for server in servers}

    @contextlib.asynccontextmanager
    async def open(self, upstream, last_id, within):
        server = self.servers[upstream.to]
        if server.dead:
            raise CallError(CONNECTION_REFUSED, "dead")
        server.came.append(asyncio.get_running_loop().time())
        queue = asyncio.Queue()

        async def write(data):
            server.sent += len(data)
            queue.put_nowait(data)

        task = asyncio.create_task(server.fanout.serve(last_id, write))
        server.streams.add(task)
        task.add_done_callback(lambda _: queue.put_nowait(None))
        try:
            yield self._read(queue)
        finally:
            server.streams.discard(task)
            task.cancel()

    async def ready(self, upstream, within):
        return not self.servers[upstream.to].dead

    async def _read(self, queue):
        while (data := await queue.get()) is not None:
            yield data
        raise CallError(CONNECTION_RESET, "ended")


class World:
    """An origin, hubs, and PoPs: each hub's have the next as their backup, and then the origin."""

    def __init__(self, hubs, pops):
        self.origin = Server("origin", "stream")
        self.hubs = [Server(f"hub-{n}", "hub") for n in range(hubs)]
        self.network = Network([self.origin, *self.hubs])
        self.origin.store.replace(Snapshot(1, {"acme": OrgState(1)}))
        for n, hub in enumerate(self.hubs):
            self._follow(hub.store, [self.origin], n)
        self.pops = [Store() for _ in range(pops)]
        self.followers = [
            self._follow(store, [self.hubs[n % hubs], self.hubs[(n + 1) % hubs], self.origin], n)
            for n, store in enumerate(self.pops)
        ]

    def _follow(self, store, servers, n):
        upstreams = [Upstream(one.name, one.role, "", 0) for one in servers]
        subscriber = Subscriber(
            upstreams, store, self.network, SETTINGS, random.Random(n), alert=lambda *_: None
        )
        subscriber.task = asyncio.create_task(subscriber.run())
        return subscriber

    async def all_at(self, seq, within):
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within
        while any(store.seq < seq for store in self.pops):
            behind = sum(store.seq < seq for store in self.pops)
            assert loop.time() < deadline, f"{behind} PoPs are behind {seq}"
            await asyncio.sleep(0.05)


def test_two_thousand_pops_behind_forty_hubs():
    async def main():
        world = World(40, 2000)
        await world.all_at(1, 10)
        for seq in range(2, 12):
            world.origin.store.apply(change(seq))
            await world.all_at(seq, 1)
        assert world.origin.fanout.subscribers == 40
        assert {hub.fanout.subscribers for hub in world.hubs} == {50}
        assert all(
            store.changes_since(1, 100) == [change(n) for n in range(2, 12)] for store in world.pops
        )

        lost, loop = world.hubs[7], asyncio.get_running_loop()
        at = loop.time()
        lost.die()
        world.origin.store.apply(change(12))
        await world.all_at(12, 10)
        backup = world.hubs[8]
        assert backup.fanout.subscribers == 100
        assert (
            world.origin.fanout.subscribers == 40
        )  # nobody went past the backup; the dead hub still follows
        tenths = Counter(int((t - at) * 10) for t in backup.came if t > at)
        assert sum(tenths.values()) == 50
        assert max(tenths.values()) <= 12  # 2.5 on average over two seconds

    run_virtual(main())


def test_what_the_origin_sends_depends_on_hubs_alone():
    async def sent(hubs, pops):
        world = World(hubs, pops)
        await world.all_at(1, 10)
        before = world.origin.sent
        for seq in range(2, 7):
            world.origin.store.apply(change(seq))
        await world.all_at(6, 0.5)
        return world.origin.sent - before

    few = run_virtual(sent(4, 40))
    assert few == run_virtual(sent(4, 200))
    assert run_virtual(sent(8, 200)) == 2 * few
