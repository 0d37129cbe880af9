"""The archiver: whatever breaks, and wherever it is killed, each version is in the database or in the archive."""

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference_impl.archive.reads import Histories
from reference_impl.archive.role import Archiver
from reference_impl.objectstore.memory import MemoryObjectStore
from reference_impl.resilience.errors import SERVICE_UNAVAILABLE, TIMEOUT, CallError
from reference_impl.storage.memory import MemoryDatabase
from reference_impl.storage.versions import NEWEST, MemoryVersions
from tests.reference_impl.support import environment, node


class Killed(BaseException):
    pass


class Fragile(MemoryObjectStore):
    """Fails, or is the end of who calls it, at a given call; `mute` puts keep nothing."""

    def __init__(self):
        super().__init__("store")
        self.ends_at = {}
        self.calls = 0
        self.mute = False

    async def put(self, key, body):
        self._count()
        return await super().put(key, b"" if self.mute else body)

    async def get(self, key, start=0, end=None):
        self._count()
        return await super().get(key, start, end)

    def _count(self):
        self.calls += 1
        if error := self.ends_at.pop(self.calls, None):
            raise error


class World:
    def __init__(self, **how):
        self.database, self.store = MemoryDatabase(), Fragile()
        self.how = how
        self.versions = MemoryVersions(self.database)
        self.written = []
        self.archiver = self.new()

    def new(self):
        config = node("archiver", "archiver", **self.how)
        return Archiver(config, environment(), self.versions, self.store)

    async def write(self, count, keys=("a", "b")):
        for n in range(count):
            key = keys[n % len(keys)]
            definition = None if n % 7 == 6 else {"value": len(self.written)}
            now = environment().wall_ns()
            self.written.append(await self.versions.put_flag("acme", key, definition, now))

    async def all_readable(self):
        histories = Histories(self.versions, self.store)
        for change in self.written:
            assert await histories.version("acme", change.key, change.seq) == change
        for key in {change.key for change in self.written}:
            wanted = [change for change in self.written if change.key == key][::-1]
            assert await pages(histories, key, 3) == wanted


async def pages(histories, key, limit):
    found, before = [], NEWEST
    while before is not None:
        page = await histories.page("acme", key, before, limit)
        assert len(page.versions) <= limit
        found += page.versions
        before = page.following
    return found


def test_old_versions_move_and_stay_readable():
    async def main():
        world = World(keep=10, batch=8)
        await world.write(50)
        while await world.archiver.step():
            await world.all_readable()
        assert await world.versions.count() == 10
        assert world.archiver.archived == 40
        await world.all_readable()

    asyncio.run(main())


def test_what_is_too_old_moves_but_for_the_newest():
    async def main():
        world = World(keep=1000, age=60.0)
        await world.write(20)
        assert await world.archiver.step() == 0
        world.archiver.clock.advance(61)
        assert await world.archiver.step() == 19
        assert await world.versions.count() == 1
        await world.all_readable()

    asyncio.run(main())


def test_a_store_that_keeps_nothing_is_not_believed():
    async def main():
        world = World(keep=10)
        await world.write(50)
        world.store.mute = True
        with pytest.raises(CallError, match="not what was put"):
            await world.archiver.step()
        assert await world.versions.count() == 50

    asyncio.run(main())


def test_a_lost_store_costs_what_only_it_has():
    async def main():
        world = World(keep=10)
        await world.write(50)
        await world.archiver.step()
        world.store.broken = TIMEOUT
        histories = Histories(world.versions, world.store)
        hot, old = world.written[-1], world.written[0]
        assert await histories.version("acme", hot.key, hot.seq) == hot
        assert (await histories.page("acme", "a", NEWEST, 50)).versions
        for reading in (
            histories.version("acme", old.key, old.seq),
            histories.page("acme", "a", 2, 50),
        ):
            with pytest.raises(CallError, match="can't be read now") as caught:
                await reading
            assert caught.value.kind == SERVICE_UNAVAILABLE

    asyncio.run(main())


def test_a_version_that_never_was_is_not_found():
    async def main():
        world = World(keep=10)
        await world.write(50)
        await world.archiver.step()
        histories = Histories(world.versions, world.store)
        assert await histories.version("acme", "a", 2) is None  # it is one of b's
        assert await histories.version("acme", "a", 10**6) is None
        assert await histories.version("other", "a", 1) is None
        assert (await histories.page("acme", "c", NEWEST, 5)).versions == []
        nothing = Histories(world.versions, None)
        assert await nothing.version("acme", "a", 1) is None

    asyncio.run(main())


@given(
    st.lists(st.tuples(st.integers(1, 30), st.booleans()), max_size=6),
    st.lists(st.integers(1, 12), max_size=10),
    st.randoms(),
)
@settings(max_examples=50, deadline=None)
def test_killed_at_any_moment_nothing_is_lost(ends, writes, chance):
    """Every call to the store may fail or be the last; a new archiver goes on. No version is ever in neither place."""

    async def main():
        world = World(keep=5, batch=7)
        world.store.ends_at = {
            at: Killed() if killed else CallError(TIMEOUT, "store") for at, killed in ends
        }
        for count in [*writes, 3]:
            await world.write(count, keys=("a", "b", "c"))
            try:
                await world.archiver.step()
            except Killed:
                world.archiver = world.new()
            except CallError:
                pass
            world.store.ends_at, later = {}, world.store.ends_at
            await world.all_readable()
            world.store.ends_at = later
        world.store.ends_at = {}
        while await world.archiver.step():
            pass
        assert await world.versions.count() <= 5
        await world.all_readable()

    asyncio.run(main())


def test_two_archivers_do_no_harm():
    async def main():
        world = World(keep=5, batch=4)
        other = world.new()
        await world.write(60)
        chance = random.Random(1)
        while await world.versions.count() > 5:
            await asyncio.gather(world.archiver.step(), other.step())
            await world.write(chance.randrange(3))
        await world.all_readable()

    asyncio.run(main())
