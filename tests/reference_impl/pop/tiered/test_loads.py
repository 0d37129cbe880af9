"""Cold flags come from the KV, else from the origin; each once, each organisation in its turn, and never older than what is known."""

import asyncio
import random

from reference_impl.evaluation import CompiledFlag
from reference_impl.kv.memory import MemoryKV
from reference_impl.pop.origin import LookupSettings, ReadThrough, Unavailable
from reference_impl.pop.tiered.flags import TieredFlags
from reference_impl.pop.tiered.loads import ColdLoads, Sources
from reference_impl.pop.tiered.settings import TierSettings
from reference_impl.pop.tiered.store import TieredStore
from reference_impl.propagation.types import Change, FlagState, OrgState, Snapshot
from reference_impl.resilience.breaker import Breaker, BreakerSettings, State
from reference_impl.resilience.errors import CONNECTION_REFUSED, CallError
from reference_impl.resilience.retry import RetrySettings
from reference_impl.tenants.tiers import Places, TenantSettings


def definition(value=0):
    return {
        "state": "ENABLED",
        "variants": {"v": value},
        "defaultVariant": "v",
        "metadata": {"x": "y" * 40_000},  # more than what fits
    }


class SlowKV(MemoryKV):
    """Each call takes `takes` s; `calls` are those for single flags."""

    def __init__(self):
        super().__init__()
        self.takes = 0.1
        self.calls = []
        self.under_way = self.most = 0

    async def flags(self, org, keys):
        self.calls.append((org, list(keys)))
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await asyncio.sleep(self.takes)
            return await super().flags(org, keys)
        finally:
            self.under_way -= 1


class FakeOrigin:
    def __init__(self):
        self.flags = {}
        self.broken = None
        self.calls = []

    async def flag(self, org, key, _attempt):
        self.calls.append((org, key))
        if self.broken:
            raise CallError(self.broken)
        return self.flags.get((org, key))


class World:
    """`n` flags of two organisations, each greater than what fits, so all are cold and stay so."""

    def __init__(self, n=10, memory=1 << 16, **settings):
        self.store = TieredStore()
        tiers = TierSettings(memory=memory, **settings)
        self.flags = TieredFlags(self.store, tiers)
        self.kv, self.origin, self.may = SlowKV(), FakeOrigin(), True
        states = {f"k{i}": FlagState(i + 1, definition(i)) for i in range(n)}
        self.all = Snapshot(n, {"acme": OrgState(n, states), "other": OrgState(n, dict(states))})
        self.store.replace(self.all)
        self.kv._store.replace(self.all)
        lookups = ReadThrough(
            self.origin,
            Breaker("origin", BreakerSettings()),
            RetrySettings(),
            LookupSettings(),
            random.Random(1),
            Places(TenantSettings(), 100),
        )
        self.breaker = Breaker("kv", BreakerSettings())
        self.sources = Sources(
            self.flags, self.kv, self.breaker, RetrySettings(), random.Random(1), lookups
        )
        self.loads = ColdLoads(self.flags, self.sources, tiers, lambda: self.may)

    def put(self, key, value, org="acme"):
        """A change on the stream; neither the KV nor the origin has it."""
        flag = None if value is None else definition(value)
        seq = self.store.seq + 1
        assert self.store.apply(Change(seq, org, seq, key, flag, at=0))
        return seq

    async def value(self, key, org="acme"):
        found = await self.loads.load(org, key)
        return found.evaluate({}, float).value if isinstance(found, CompiledFlag) else found


def test_a_flag_comes_from_the_kv(virtual):
    async def course():
        world = World()
        assert world.flags.cold("acme", "k3")
        assert await world.value("k3") == 3
        assert world.origin.calls == []
        assert (world.loads.loaded, world.sources.from_kv) == (1, 1)

    virtual(course())


def test_what_was_loaded_stays_in_memory(virtual):
    async def course():
        world = World(memory=1 << 20)
        world.flags._drop("acme", "k3")
        assert await world.value("k3") == 3
        assert not world.flags.cold("acme", "k3")
        assert world.flags.get("acme", "k3").evaluate({}, float).value == 3

    virtual(course())


def test_many_who_ask_share_one_call_and_many_flags_one_batch(virtual):
    async def course():
        world = World(n=40, batch=16)
        asked = [world.value(f"k{n % 40}") for n in range(200)]
        assert await asyncio.gather(*asked) == [n % 40 for n in range(200)]
        keys = [key for _, keys in world.kv.calls for key in keys]
        assert sorted(keys) == sorted(f"k{n}" for n in range(40))
        assert [len(keys) for _, keys in world.kv.calls] == [16, 16, 8]
        assert world.kv.most == 1

    virtual(course())


def test_a_flood_of_one_organisation_does_not_delay_another(virtual):
    async def course():
        world = World(n=500, batch=10)
        flood = [asyncio.create_task(world.value(f"k{n}")) for n in range(500)]
        scans = [asyncio.create_task(world.loads.peek("acme", ["k1"])) for _ in range(50)]
        await asyncio.sleep(0.25)
        began = asyncio.get_running_loop().time()
        assert await world.value("k7", org="other") == 7
        assert asyncio.get_running_loop().time() - began < 0.11
        assert world.kv.most == 2
        await asyncio.gather(*flood, *scans)
        assert world.kv.most == 2

    virtual(course())


def test_who_waits_for_too_many_is_turned_away(virtual):
    async def course():
        world = World(n=30, waiting=20)
        found = await asyncio.gather(*(world.value(f"k{n}") for n in range(30)))
        assert found[:20] == list(range(20))
        assert all(isinstance(each, Unavailable) for each in found[20:])
        assert world.loads.turned_away == 10
        assert await world.value("k25") == 25

    virtual(course())


def test_what_the_kv_has_is_refused_where_it_is_older_and_the_origin_is_asked(virtual):
    async def course():
        world = World()
        seq = world.put("k3", 33)
        world.origin.flags["acme", "k3"] = FlagState(seq, definition(33))
        assert await world.value("k3") == 33
        assert (world.sources.refused, world.sources.from_origin) == (1, 1)

    virtual(course())


def test_where_both_are_older_nothing_is_answered(virtual):
    async def course():
        world = World()
        world.put("k3", 33)
        world.origin.flags["acme", "k3"] = FlagState(4, definition(3))
        assert isinstance(await world.value("k3"), Unavailable)
        assert world.sources.refused == 2
        assert world.flags.cold("acme", "k3")

    virtual(course())


def test_a_change_during_the_call_makes_its_answer_old(virtual):
    async def course():
        world = World()
        asked = asyncio.create_task(world.value("k3"))
        await asyncio.sleep(0.05)
        seq = world.put("k3", 33)
        world.origin.flags["acme", "k3"] = FlagState(seq, definition(33))
        assert await asked == 33

    virtual(course())


def test_a_deletion_during_the_call_is_seen(virtual):
    async def course():
        world = World()
        asked = asyncio.create_task(world.value("k3"))
        await asyncio.sleep(0.05)
        world.put("k3", None)
        assert await asked is None
        assert not world.flags.knows("acme", "k3")

    virtual(course())


def test_without_the_kv_the_origin_answers_and_the_breaker_spares_the_kv(virtual):
    async def course():
        world = World()
        world.kv.broken = CONNECTION_REFUSED
        for key, state in world.all.orgs["acme"].flags.items():
            world.origin.flags["acme", key] = state
        for n in range(10):
            assert await world.value(f"k{n}") == n
        assert world.breaker.state is State.OPEN
        assert len(world.kv.calls) < 10
        world.origin.broken = CONNECTION_REFUSED
        assert isinstance(await world.value("k1"), Unavailable)

    virtual(course())


def test_no_new_flags_where_the_level_forbids_it_when_the_answer_comes(virtual):
    async def course():
        world = World(memory=1 << 20)
        world.flags._drop("acme", "k3")
        asked = asyncio.create_task(world.value("k3"))
        await asyncio.sleep(0.05)
        world.may = False
        assert isinstance(await asked, Unavailable)
        assert world.flags.cold("acme", "k3")

    virtual(course())


def test_a_look_at_cold_flags_takes_no_place(virtual):
    async def course():
        world = World(memory=1 << 20)
        world.flags._drop("acme", "k3")
        used = world.flags.definitions.used
        found = await world.loads.peek("acme", ["k3"])
        assert found["k3"].evaluate({}, float).value == 3
        assert world.flags.definitions.used == used
        assert world.flags.cold("acme", "k3")

    virtual(course())


def test_closing_tells_those_who_wait(virtual):
    async def course():
        world = World()
        asked = asyncio.create_task(world.value("k3"))
        await asyncio.sleep(0.01)
        await world.loads.close()
        assert isinstance(await asked, Unavailable)

    virtual(course())
