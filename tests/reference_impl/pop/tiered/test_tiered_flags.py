"""What flags in tiers must do as those in memory do, and what only they do."""

import asyncio
import functools

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference_impl.pop.flags import CompiledFlags
from reference_impl.pop.shared.arena import Arena
from reference_impl.pop.shared.lead import LeadFlags
from reference_impl.pop.shared.store import SharedStore
from reference_impl.pop.shared.writer import Writer
from reference_impl.pop.tiered.flags import TieredFlags
from reference_impl.pop.tiered.settings import TierSettings
from reference_impl.pop.tiered.store import TieredStore
from reference_impl.propagation.store import Store
from reference_impl.propagation.types import (
    Change,
    FlagState,
    OrgState,
    RawFlagState,
    RawOrgState,
    RawSnapshot,
    Snapshot,
)

BROKEN = {"state": "PERHAPS"}
KIB = 1 << 10


def definition(value=0, **more):
    return {"state": "ENABLED", "variants": {"v": value}, "defaultVariant": "v", **more}


REFERRING = {
    "state": "ENABLED",
    "variants": {"on": True, "off": False},
    "defaultVariant": "off",
    "targeting": {"if": [{"$ref": "insiders"}, "on", "off"]},
}


def insiders(tier):
    return {"insiders": {"==": [{"var": "tier"}, tier]}}


class Made:
    """A store and its flags, and how to write to it."""

    def __init__(self, kind, memory=1 << 20):
        match kind:
            case "plain":
                self.store = Store()
                self.flags = CompiledFlags(self.store)
            case "shared":
                arena = Arena(memory)
                self.store = SharedStore(Writer(arena))
                self.flags = LeadFlags(arena, self.store, limit=100)
            case "tiered":
                self.store = TieredStore()
                self.flags = TieredFlags(self.store, TierSettings(memory=memory))

    @property
    def rejected(self):
        """Where workers share a store, what comes is judged there, and what was there from the start by its readers."""
        return self.flags.rejected + getattr(self.store, "rejected", 0)

    def put(self, key, flag, org="acme"):
        seq = self.store.seq + 1
        assert self.store.apply(Change(seq, org, seq, key, flag, at=0))

    def load(self, seq, flags, org="acme"):
        states = {key: FlagState(at, flag) for key, (at, flag) in flags.items()}
        return self.store.replace(Snapshot(seq, {org: OrgState(seq, states)}))

    def value(self, key, org="acme", **context):
        flag = self.flags.get(org, key)
        return None if flag is None else flag.evaluate(context, lambda: 0.0).value


def in_a_loop(test):
    def run(*args, **kwargs):
        async def course():
            test(*args, **kwargs)

        asyncio.run(course())

    return functools.update_wrapper(run, test)


def contract(test):
    """Run with flags that are all in memory, in the memory that workers share, and in tiers that have room."""

    @pytest.mark.parametrize("kind", ["plain", "shared", "tiered"])
    def run(kind):
        in_a_loop(test)(Made(kind))

    run.__name__ = test.__name__
    return run


@contract
def test_a_change_is_seen_at_once_with_its_position(made):
    assert made.value("a") is None
    made.put("a", definition(1))
    assert made.value("a") == 1
    made.put("a", definition(2))
    assert made.value("a") == 2
    assert made.flags.get("acme", "a").version == 2
    made.put("a", None)
    assert made.value("a") is None
    assert not made.flags.knows("acme", "a")


@contract
def test_organisations_are_apart(made):
    made.put("a", definition(1), org="acme")
    assert made.value("a", org="umbrella") is None
    assert list(made.flags.keys("umbrella")) == []
    assert list(made.flags.keys("acme")) == ["a"]


@contract
def test_a_snapshot_takes_the_place_of_all_and_never_goes_back(made):
    made.put("a", definition(1))
    made.put("b", definition(2), org="umbrella")
    assert made.load(5, {"c": (5, definition(3)), "a": (4, definition(4))})
    assert sorted(made.flags.keys("acme")) == ["a", "c"]
    assert (made.value("a"), made.value("c")) == (4, 3)
    assert made.value("b", org="umbrella") is None
    assert not made.load(5, {})
    assert not made.store.apply(Change(7, "acme", 7, "a", None, at=0))
    assert made.value("a") == 4


@contract
def test_an_invalid_definition_keeps_the_last_good_one_and_is_counted(made):
    made.put("a", definition(1))
    assert made.value("a") == 1
    made.put("a", BROKEN)
    assert made.value("a") == 1
    assert made.rejected == 1
    made.put("a", definition(2))
    assert made.value("a") == 2


@pytest.mark.parametrize("kind", ["plain", "tiered"])  # the shared store doesn't take it at all
@in_a_loop
def test_a_definition_that_never_was_good_is_known_but_not_served(kind):
    made = Made(kind)
    made.put("a", BROKEN)
    for _ in range(3):
        assert made.value("a") is None
    assert made.flags.knows("acme", "a")
    assert made.rejected == 1
    assert not made.flags.knows("acme", "b")


@contract
def test_shared_rules_changing_recompiles_their_organisation(made):
    made.put("$evaluators", insiders("gold"))
    made.put("a", REFERRING)
    assert made.value("a", tier="gold") is True
    made.put("$evaluators", insiders("red"))
    assert made.value("a", tier="gold") is False
    assert made.value("a", tier="red") is True
    assert list(made.flags.keys("acme")) == ["a"]


@contract
def test_a_flag_of_the_origin_is_kept_until_the_stream_brings_it(made):
    made.put("a", definition(1))
    assert made.flags.keep_ahead("acme", "a", FlagState(1, definition(9))) is None
    assert made.flags.keep_ahead("acme", "b", FlagState(5, BROKEN)) is None
    assert made.flags.keep_ahead("acme", "b", FlagState(5, definition(2))) is not None
    assert made.value("b") == 2
    made.put("c", definition(0))
    assert made.value("b") == 2
    for _ in range(3):
        made.put("c", definition(0))
    made.put("b", definition(3))
    assert made.value("b") == 3


# -- tiers alone ---------------------------------------------------------------------------------------------------------


def filled(n=200, memory=64 * KIB):
    """More flags than fit, in one snapshot."""
    made = Made("tiered", memory)
    made.load(n, {f"k{i}": (i + 1, definition(i, metadata={"x": "y" * 500})) for i in range(n)})
    return made


def cold(made, org="acme"):
    return [key for key in made.flags.keys(org) if made.flags.cold(org, key)]


@in_a_loop
def test_of_what_does_not_fit_only_the_position_is_kept():
    made = filled()
    assert len(made.flags.keys("acme")) == 200
    assert 100 < len(cold(made)) < 200
    assert made.flags.definitions.used <= 32 * KIB
    assert made.flags.definitions.evicted == 0
    first, last = "k0", cold(made)[-1]
    assert made.value(first) == 0
    assert made.value(last) is None
    assert made.flags.knows("acme", last)


@in_a_loop
def test_what_was_loaded_is_used_and_something_else_gives_way():
    made = filled()
    key = cold(made)[0]
    before = len(cold(made))
    made.flags.take("acme", key, FlagState(int(key[1:]) + 1, definition(77)))
    assert made.value(key) == 77
    assert not made.flags.cold("acme", key)
    assert before - 1 <= len(cold(made)) <= before + 1
    assert made.flags.definitions.used <= 32 * KIB
    assert made.flags.compiled.used <= 32 * KIB


@in_a_loop
def test_a_change_of_a_cold_flag_moves_its_position_alone():
    made = filled()
    key, count = cold(made)[0], len(cold(made))
    made.put(key, definition(5, metadata={"x": "y" * 500}))
    assert made.store.position("acme", key) == 201
    assert len(cold(made)) == count
    made.put(key, None)
    assert made.store.position("acme", key) is None
    assert not made.flags.cold("acme", key)


@in_a_loop
def test_what_was_loaded_ahead_of_the_stream_never_goes_back():
    made = filled()
    key = cold(made)[0]
    made.flags.take("acme", key, FlagState(203, definition("new")))
    made.put(key, definition("older"))
    assert made.value(key) == "new"
    made.put(key, None)
    assert made.value(key) == "new"
    assert made.load(202, {key: (150, definition("old"))}) is False
    made.put("other", definition())
    assert made.load(300, {key: (204, definition("newest"))})
    assert made.value(key) == "newest"


@in_a_loop
def test_what_is_ahead_of_a_snapshot_outlives_it():
    made = filled()
    key = cold(made)[0]
    made.flags.take("acme", key, FlagState(400, definition("new")))
    made.load(300, {"x": (299, definition())})
    assert made.value(key) == "new"
    assert made.store.position("acme", key) == 400
    made.load(500, {"x": (299, definition())})
    assert not made.flags.knows("acme", key)
    assert made.value(key) is None


CHANGES = st.lists(
    st.tuples(
        st.sampled_from(("put", "delete", "get", "take")),
        st.sampled_from(("a", "b")),
        st.integers(0, 30),
    ),
    max_size=150,
)


@settings(deadline=None, max_examples=60)
@given(CHANGES)
def test_never_stale_against_a_dictionary(steps):
    """Whatever is in memory is the newest version; what isn't is cold; and the bound holds."""

    async def course():
        made, truth = Made("tiered", 64 * KIB), {}
        for what, org, n in steps:
            key = f"k{n}"
            if what == "put":
                made.put(key, definition(made.store.seq, metadata={"x": "y" * 3000}), org)
                truth[org, key] = made.store.seq - 1
            elif what == "delete":
                made.put(key, None, org)
                truth.pop((org, key), None)
            elif what == "take" and made.flags.cold(org, key):
                value = truth[org, key]
                flag = definition(value, metadata={"x": "y" * 3000})
                made.flags.take(org, key, FlagState(value + 1, flag))
            wanted = truth.get((org, key))
            assert made.flags.knows(org, key) is (wanted is not None)
            seen = made.value(key, org)
            assert seen == (None if made.flags.cold(org, key) else wanted)
            assert made.flags.definitions.used + made.flags.compiled.used <= 64 * KIB

    asyncio.run(course())


@in_a_loop
def test_what_is_no_definition_at_all_is_known_and_not_served():
    made = Made("tiered")
    states = {"a": RawFlagState(1, msgspec.Raw(b"[1]")), "b": RawFlagState(2, msgspec.Raw(b"7"))}
    made.store.replace(RawSnapshot(2, {"acme": RawOrgState(2, states)}))
    assert (made.value("a"), made.value("b"), made.value("a")) == (None, None, None)
    assert made.flags.knows("acme", "a")
    assert made.flags.rejected == 2


def test_what_is_used_all_the_time_stays_however_rarely_anything_else_is(virtual):
    async def course():
        made = filled()
        other, *rest = cold(made)
        made.put("mine", definition("mine"), org="small")
        made.value("mine", org="small")
        for key in rest:
            await asyncio.sleep(70)  # longer than who is idle may keep anything
            for _ in range(3):
                assert made.value("mine", org="small") == "mine"
            n = int(key[1:])
            made.flags.take("acme", key, FlagState(n + 1, definition(n)))
        assert made.flags.compiled.peek("small", "mine") is not None
        assert made.value(other) is None

    virtual(course())
