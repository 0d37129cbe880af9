"""Growth under writes, with losses at any step: nothing is lost or doubled, and no two databases ever take the same organisation."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference_impl.resilience.errors import INVALID, TIMEOUT, CallError
from reference_impl.shards.base import NotOwner
from reference_impl.shards.hand_over import BATCH, HandOver
from reference_impl.shards.journal import OPEN, STEPS, Growth, Journal, Move
from reference_impl.shards.memory import MemoryShards
from reference_impl.shards.plan import finished, first_places, holders, moves
from reference_impl.shards.shard import Shard, shards

NAMES = ["a", "b", "c"]
ORGS = [f"org-{n}" for n in range(12)]


def flag(n):
    return {"n": n}


class World:
    """Three databases that two share four shards of, and by force what every organisation was given, in order."""

    def __init__(self):
        self.databases = {name: MemoryShards(name) for name in NAMES}
        self.given = {org: [] for org in ORGS}

    async def begin(self):
        for name, some in first_places(["a", "b"], 4).items():
            await self.databases[name].place(some)
        await self.databases["c"].place([])

    async def write(self, org):
        """To every database; at most one may take it."""
        took = 0
        for database in self.databases.values():
            try:
                change = await database.put_flag(
                    org, f"k{len(self.given[org]) % 3}", flag(len(self.given[org])), 0
                )
            except NotOwner:
                continue
            took += 1
            assert change.version == len(self.given[org]) + 1, f"{org} at {database.name}"
        assert took <= 1, f"{org} is at {took} databases"
        if took:
            self.given[org].append(flag(len(self.given[org])))
        return took

    async def plan(self):
        owned = {name: await each.owned() for name, each in self.databases.items()}
        return Growth(8, [Move(*move) for move in moves(holders(owned, 4), NAMES)])

    async def check(self):
        owned = {name: await each.owned() for name, each in self.databases.items()}
        assert finished(owned, 8)
        assert sorted(one.shard for some in owned.values() for one in some) == shards(8)
        for org in ORGS:
            holding = [n for n, each in self.databases.items() if org in await each.organisations()]
            assert len(holding) == (1 if self.given[org] else 0), f"{org} is at {holding}"
            assert await self.write(org) == 1
            state = await self.databases[holding[0]].list_org(org) if holding else None
            if state:
                kept = {f"k{n % 3}": one for n, one in enumerate(self.given[org])}
                assert {key: each.flag for key, each in state.flags.items()} == kept


@settings(max_examples=150, deadline=None)
@given(
    before=st.lists(st.sampled_from(ORGS), max_size=30),
    turns=st.lists(
        st.tuples(st.sampled_from(["go", "forget", "lose journal", "away"]), st.sampled_from(ORGS)),
        max_size=40,
    ),
)
def test_whatever_is_lost_and_whenever(before, turns):
    """At each turn a step is done; or done but not recorded; or all of the journal is lost; or a database is away."""

    async def main():
        world = World()
        await world.begin()
        for org in before:
            await world.write(org)
        hand_over, growth = HandOver(world.databases), await world.plan()
        for what, org in turns:
            await world.write(org)
            if not growth.left:
                break
            move = growth.left[0]
            if what == "lose journal":
                growth = await world.plan()
                continue
            if what == "away":
                world.databases[move.target].broken = TIMEOUT
                try:
                    await hand_over.step(move)
                    move.done += 1
                except CallError:
                    pass
                world.databases[move.target].broken = None
                continue
            await hand_over.step(move)
            if what == "go":
                move.done += 1
        for move in growth.moves:
            while move.next is not None:
                await world.write(ORGS[move.done])
                await hand_over.step(move)
                move.done += 1
        await world.check()

    asyncio.run(main())


def test_without_closing_the_world_would_notice():
    """The test above can fail."""

    class Hasty(HandOver):
        async def close(self, move):
            pass

    async def main():
        world = World()
        await world.begin()
        hand_over, growth = Hasty(world.databases), await world.plan()
        move = next(
            m for m in growth.moves if m.source != m.target and any(m.half.has(o) for o in ORGS)
        )
        org = next(o for o in ORGS if move.half.has(o))
        await world.write(org)
        while move.done <= STEPS.index(OPEN):
            await hand_over.step(move)
            move.done += 1
        with pytest.raises(AssertionError):
            await world.write(org)

    asyncio.run(main())


def test_much_is_copied_in_pieces():
    async def main():
        a, b = MemoryShards("a"), MemoryShards("b")
        await a.place([Shard(1, 0)])
        await b.place([])
        for n in range(BATCH * 2 + 7):
            await a.put_flag(f"org-{n % 5}", "k", flag(n), 0)
        move = Move(Shard(1, 0), "a", "b")
        hand_over = HandOver({"a": a, "b": b})
        while move.next is not None:
            await hand_over.step(move)
            move.done += 1
        moved = [f"org-{n}" for n in range(5) if Shard(2, 1).has(f"org-{n}")]
        assert moved
        assert await b.organisations() == moved
        assert await a.organisations() == sorted({f"org-{n}" for n in range(5)} - {*moved})

    asyncio.run(main())


def test_a_copy_that_lacks_something_is_never_opened():
    class Forgetful(MemoryShards):
        async def changes_after(self, shard, versions, limit):
            return []

    async def main():
        a, b = Forgetful("a"), MemoryShards("b")
        await a.place([Shard(1, 0)])
        await b.place([])
        org = next(o for o in ORGS if Shard(2, 1).has(o))
        await a.put_flag(org, "k", flag(1), 0)
        move = Move(Shard(1, 0), "a", "b", 3)
        await a.split(move.shard)
        await a.close_shard(move.half)
        with pytest.raises(CallError, match=f"b lacks changes of {org}") as caught:
            await HandOver({"a": a, "b": b}).step(move)
        assert caught.value.kind == INVALID
        assert await b.owned() == []

    asyncio.run(main())


def test_a_mover_that_comes_back_goes_on_where_it_was(tmp_path):
    journal = Journal(tmp_path / "growths.json")
    journal.load()  # nothing there yet
    assert journal.current is None
    stays, goes = Move(Shard(2, 0), "a", "a"), Move(Shard(2, 1), "a", "b")
    journal.begin(Growth(4, [stays, goes]))
    assert (stays.next, goes.next, goes.half) == ("split", "split", Shard(4, 3))
    journal.done(stays)
    journal.done(goes)
    again = Journal(tmp_path / "growths.json")
    again.load()
    assert again.current.shards == 4
    (left,) = again.current.left
    assert (left, left.next) == (Move(Shard(2, 1), "a", "b", 1), "copy")
    for _ in STEPS[1:]:
        again.done(left)
    assert again.current is None
    assert again.latest.moves[1].done == len(STEPS)
