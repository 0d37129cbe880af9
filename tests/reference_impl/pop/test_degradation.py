"""In virtual time: every timing is exact, and minutes cost milliseconds."""

import asyncio
import contextlib
import random

import pytest

from reference_impl.kv.memory import MemoryKV
from reference_impl.pop.degradation import Degradation, DegradationSettings
from reference_impl.pop.levels import Level
from reference_impl.propagation.store import Store
from reference_impl.propagation.types import Change, Snapshot
from reference_impl.resilience.errors import CallError
from reference_impl.resilience.retry import RetrySettings

H, L1, L2, E = Level


def change(seq, key="dark-mode"):
    return Change(seq, "acme", seq, key, {"state": "ENABLED", "n": seq}, at=0)


class WatchedKV(MemoryKV):
    """Notes the time of each fetch. `hangs`: calls never answer."""

    def __init__(self):
        super().__init__()
        self.fetches = []
        self.fetch_broken = None
        self.hangs = False
        self.fetch_takes = 0.0
        self.answer = None

    async def ping(self):
        if self.hangs:
            await asyncio.Event().wait()
        return await super().ping()

    async def fetch(self, since_seq):
        self.fetches.append(asyncio.get_running_loop().time())
        if self.hangs:
            await asyncio.sleep(5.0)
            raise CallError("TIMEOUT")
        if self.fetch_broken:
            raise CallError(self.fetch_broken)
        found = await super().fetch(since_seq) if self.answer is None else self.answer
        await asyncio.sleep(self.fetch_takes)
        return found


class World:
    """A PoP's dependencies, its memory and its level."""

    def __init__(self, *, kv_changes=1, **settings):
        self.store = Store()
        self.kv = WatchedKV()
        self.seq = 0
        self.origin = None  # None: well; a kind: that error; "hang": no answer
        self.written = kv_changes
        self.walks = []
        self.degradation = Degradation(
            DegradationSettings(**settings),
            RetrySettings(),
            self.store,
            kv=self.kv,
            origin=self.check_origin,
            chance=random.Random(1),
            changed=self.walks.append,
        )

    async def check_origin(self):
        if self.origin == "hang":
            await asyncio.Event().wait()
        if self.origin:
            raise CallError(self.origin)

    async def write(self, count=1, *, to_kv=True):
        for _ in range(count):
            self.seq += 1
            if to_kv:
                await self.kv.apply([change(self.seq)])

    def stream_up(self):
        for seq in range(self.store.seq + 1, self.seq + 1):
            self.store.apply(change(seq))
        self.degradation.stream_up()

    @property
    def level(self):
        return self.degradation.level

    def path(self):
        steps = list(self.degradation.machine.transitions)
        return [steps[0].source, *(step.to for step in steps)] if steps else []

    async def until(self, level, within=60.0):
        deadline = asyncio.get_running_loop().time() + within
        while self.level is not level:
            assert asyncio.get_running_loop().time() < deadline, f"{self.degradation!r}"
            await asyncio.sleep(0.01)
        return asyncio.get_running_loop().time()


@contextlib.asynccontextmanager
async def running(**settings):
    world = World(**settings)
    await world.write(world.written)
    task = asyncio.create_task(world.degradation.run())
    try:
        yield world
        assert not task.done(), task
    finally:
        task.cancel()
        await asyncio.wait({task})


@contextlib.asynccontextmanager
async def healthy(**settings):
    async with running(**settings) as world:
        world.stream_up()
        await asyncio.sleep(1.5)
        assert world.level is H
        assert world.degradation.kv.ok
        assert world.degradation.origin.ok
        world.degradation.machine.transitions.clear()
        world.kv.fetches.clear()
        yield world


def now():
    return asyncio.get_running_loop().time()


def test_cold_start_with_everything_up_climbs_step_by_step(virtual):
    async def course():
        async with running() as world:
            assert world.level is E
            await world.until(L1, within=1.0)
            assert world.store.seq == 1
            world.stream_up()
            return world.path()

    assert virtual(course()) == [E, L2, L1, H]


def test_cold_start_with_nothing_up_stays_in_emergency(virtual):
    async def course():
        async with running() as world:
            world.origin = "CONNECTION_REFUSED"
            world.kv.broken = "CONNECTION_REFUSED"
            await asyncio.sleep(30)
            assert world.level is E
            assert world.path() == []
            world.origin = None
            await world.until(L2, within=1.1)
            world.kv.broken = None
            await world.until(L1, within=1.1)
            return world.path()

    assert virtual(course()) == [E, L2, L1]


def test_a_stream_without_data_is_not_yet_healthy(virtual):
    async def course():
        async with running(kv_changes=0) as world:
            world.degradation.stream_up()
            await world.until(L2)
            await asyncio.sleep(3)
            assert world.level is L2
            world.seq = 1
            world.stream_up()
            assert world.level is H

    virtual(course())


def test_losing_the_stream_means_l1_at_once_with_a_poll_at_once(virtual):
    async def course():
        async with healthy() as world:
            await world.write()
            world.degradation.stream_down("CONNECTION_RESET")
            lost = now()
            assert world.level is L1
            (step,) = world.degradation.machine.transitions
            assert step.at == round(lost * 1e9)
            assert step.reason == "streaming disconnected: CONNECTION_RESET"
            while world.store.seq < 2:
                await asyncio.sleep(0)
            assert now() == lost

    virtual(course())


def test_l1_polls_on_a_fixed_grid_that_slow_polls_do_not_shift(virtual):
    async def course():
        async with healthy() as world:
            world.degradation.stream_down("TIMEOUT")
            lost = now()
            world.kv.fetch_takes = 0.4
            await asyncio.sleep(9.75 * 4 + 1)
            return [at - lost for at in world.kv.fetches]

    assert virtual(course()) == pytest.approx([0, 9.75, 19.5, 29.25, 39.0])


def test_in_l1_every_write_is_visible_within_ten_seconds(virtual):
    async def course():
        async with healthy() as world:
            world.kv.fetch_takes = 0.2
            world.degradation.stream_down("TIMEOUT")
            worst = 0.0
            for pause in (7.3, 0.01, 3.3, 0.01, 0.01, 9.0):
                await asyncio.sleep(pause)
                await world.write()
                written = now()
                while world.store.seq < world.seq:
                    await asyncio.sleep(0.01)
                worst = max(worst, now() - written)
            return worst

    assert 9.7 < virtual(course()) <= 10.0


def test_step_by_step_down_and_back(virtual):
    async def course():
        async with healthy() as world:
            world.degradation.stream_down("TIMEOUT")
            await asyncio.sleep(5)
            world.kv.broken = "CONNECTION_REFUSED"
            await world.until(L2, within=1.1)
            world.origin = "CONNECTION_REFUSED"
            await world.until(E, within=1.1)
            world.origin = None
            await world.until(L2, within=1.1)
            world.kv.broken = None
            await world.until(L1, within=1.1)
            world.stream_up()
            return world.path()

    assert virtual(course()) == [H, L1, L2, E, L2, L1, H]


def test_all_at_once_refused_is_an_emergency_within_a_second(virtual):
    async def course():
        async with healthy() as world:
            world.kv.broken = world.origin = "CONNECTION_REFUSED"
            world.degradation.stream_down("CONNECTION_REFUSED")
            lost = now()
            assert await world.until(E) - lost <= 1.1
            return world.path()

    assert virtual(course()) == [H, L1, L2, E]


def test_all_at_once_hanging_is_an_emergency_as_soon_as_the_stream_is_known_to_be_lost(virtual):
    async def course():
        async with healthy() as world:
            world.kv.hangs = True
            world.origin = "hang"
            await asyncio.sleep(3.0)  # the heartbeats' timeout; the checks have noticed meanwhile
            world.degradation.stream_down("TIMEOUT")
            assert world.level is E
            assert [step.reason for step in world.degradation.machine.transitions] == [
                "streaming disconnected: TIMEOUT",
                "KV unavailable: TIMEOUT",
                "origin unreachable: TIMEOUT",
            ]

    virtual(course())


def test_while_streaming_the_loss_of_kv_and_origin_changes_nothing(virtual):
    async def course():
        async with healthy() as world:
            world.kv.broken = "CONNECTION_REFUSED"
            world.origin = "CONNECTION_REFUSED"
            await asyncio.sleep(20)
            assert world.level is H
            assert world.path() == []
            assert world.degradation.kv.error == "CONNECTION_REFUSED"
            assert world.degradation.origin.error == "CONNECTION_REFUSED"

    virtual(course())


def test_a_hanging_kv_in_l1_is_left_by_the_pings_before_a_poll_gives_up(virtual):
    async def course():
        async with healthy() as world:
            world.degradation.stream_down("TIMEOUT")
            await asyncio.sleep(9.5)
            world.kv.hangs = True
            hung = now()
            return await world.until(L2) - hung

    assert virtual(course()) <= 2.6


def test_one_lost_ping_is_forgiven(virtual):
    async def course():
        async with healthy() as world:
            world.degradation.stream_down("TIMEOUT")
            await asyncio.sleep(0.2)
            world.kv.broken = "TIMEOUT"
            while world.degradation.kv.failures == 0:
                await asyncio.sleep(0.01)
            world.kv.broken = None
            await asyncio.sleep(3)
            return world.path()

    assert virtual(course()) == [H, L1]


def test_a_poll_that_fails_is_retried_and_then_means_l2(virtual):
    async def course():
        async with healthy() as world:
            world.kv.fetch_broken = "TIMEOUT"
            world.degradation.stream_down("TIMEOUT")
            lost = now()
            took = await world.until(L2) - lost
            assert len([at for at in world.kv.fetches if at - lost < 0.5]) == 3
            return took

    assert 0.3 <= virtual(course()) <= 0.35


def test_in_l2_nothing_from_the_kv_reaches_memory_until_l1(virtual):
    async def course():
        async with healthy() as world:
            world.degradation.stream_down("TIMEOUT")
            await asyncio.sleep(1)
            world.kv.broken = "CONNECTION_REFUSED"
            await world.until(L2)
            seen = []
            world.store.listen(lambda _: seen.append(world.level))
            world.kv.broken = None
            await world.write(3)
            world.degradation._changed = lambda walked: seen.append(
                (walked[-1].to, world.store.seq)
            )
            await world.until(L1)
            return seen

    # Data and level change in one turn of the loop: nobody can look in between.
    assert virtual(course()) == [L2, L2, L2, (L1, 4)]


def test_an_empty_kv_is_no_way_back_and_empties_nothing(virtual):
    async def course():
        async with healthy() as world:
            world.degradation.stream_down("TIMEOUT")
            await asyncio.sleep(1)
            world.kv.wipe()
            await world.until(L2, within=2.5)
            assert world.degradation.kv.error == "EMPTY"
            await asyncio.sleep(30)
            assert world.path() == [H, L1, L2]
            assert world.store.orgs["acme"].flags

    virtual(course())


@pytest.mark.parametrize(
    "nonsense",
    [Snapshot(99, {}), [change(99)]],
    ids=["empty snapshot", "gap"],
)
def test_nonsense_from_the_kv_never_replaces_good_data(virtual, nonsense):
    async def course():
        async with healthy() as world:
            world.kv.answer = nonsense
            world.degradation.stream_down("TIMEOUT")
            await world.until(L2, within=1.0)
            assert world.degradation.kv.error == "INVALID"
            assert world.store.seq == 1
            assert world.store.orgs["acme"].flags

    virtual(course())


def test_versions_never_go_back_however_old_the_kv(virtual):
    async def course():
        async with healthy(kv_changes=5) as world:
            assert world.store.seq == 5
            world.kv.answer = [change(2), change(3)]
            world.degradation.stream_down("TIMEOUT")
            await asyncio.sleep(12)
            assert world.store.seq == 5
            old = Store()
            old.apply(change(1))
            world.kv.answer = old.snapshot()
            await asyncio.sleep(12)
            assert world.store.seq == 5
            assert world.path() == [H, L1]
            assert world.store.orgs["acme"].version == 5

    virtual(course())


def test_the_way_back_polls_once_and_the_grid_begins_there(virtual):
    async def course():
        async with healthy() as world:
            world.kv.broken = "CONNECTION_REFUSED"
            world.degradation.stream_down("TIMEOUT")
            await world.until(L2)
            world.kv.broken = None
            world.kv.fetches.clear()
            back = await world.until(L1)
            await asyncio.sleep(25)
            return [at - back for at in world.kv.fetches]

    assert virtual(course()) == pytest.approx([0, 9.75, 19.5], abs=0.02)


def test_polling_ends_with_l1(virtual):
    async def course():
        async with healthy() as world:
            world.degradation.stream_down("TIMEOUT")
            await asyncio.sleep(1)
            world.stream_up()
            world.kv.fetches.clear()
            await asyncio.sleep(30)
            assert world.kv.fetches == []

    virtual(course())


def test_a_node_without_kv_or_origin_links_counts_them_as_lost(virtual):
    async def course():
        store = Store()
        degradation = Degradation(
            DegradationSettings(),
            RetrySettings(),
            store,
            kv=None,
            origin=None,
            chance=random.Random(1),
        )
        store.apply(change(1))
        degradation.stream_up()
        assert degradation.level is H
        degradation.stream_down("TIMEOUT")
        assert degradation.level is E

    virtual(course())
