"""The shared store against a dictionary, and against a reader that looks in between."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference_impl.pop.levels import Level
from reference_impl.pop.shared.arena import Arena, StoreFull
from reference_impl.pop.shared.hot import HotFlags
from reference_impl.pop.shared.store import RING_BYTES, SharedStore
from reference_impl.pop.shared.writer import Writer
from reference_impl.propagation import sse
from reference_impl.propagation.store import Store
from reference_impl.propagation.types import Change, FlagState, OrgState, Snapshot
from reference_impl.resilience.errors import CallError

MIB = 1 << 20
BROKEN = {"state": "PERHAPS"}


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


class Shared:
    """A store in shared memory and what a worker sees of it."""

    def __init__(self, limit=4 * MIB, hot=100, ring=100):
        self.arena = Arena(limit)
        self.store = SharedStore(Writer(self.arena), ring)
        self.worker = HotFlags(self.arena, 1, hot)

    @property
    def writer(self):
        return self.store.writer

    def put(self, key, flag, org="acme"):
        seq = self.store.seq + 1
        assert self.store.apply(Change(seq, org, seq, key, flag, at=0))

    def load(self, seq, flags, org="acme"):
        states = {key: FlagState(at, flag) for key, (at, flag) in flags.items()}
        assert self.store.replace(Snapshot(seq, {org: OrgState(seq, states)}))

    def value(self, key, org="acme", **context):
        self.worker.pin()
        flag = self.worker.get(org, key)
        return None if flag is None else flag.evaluate(context, lambda: 0.0).value


def test_a_change_is_seen_at_once_with_its_position():
    shared = Shared()
    assert shared.value("a") is None
    shared.put("a", definition(1))
    assert shared.value("a") == 1
    shared.put("a", definition(2))
    assert shared.value("a") == 2
    assert shared.worker.get("acme", "a").version == shared.worker.root.seq == 2
    shared.put("a", None)
    assert shared.value("a") is None
    assert shared.value("a", org="umbrella") is None


def test_what_is_pinned_stays_as_it_was():
    shared = Shared()
    shared.put("a", definition(1))
    shared.worker.pin()
    shared.put("a", definition(2))
    shared.put("b", definition(3))
    assert shared.worker.get("acme", "a").evaluate({}, float).value == 1
    assert shared.worker.get("acme", "b") is None
    assert shared.worker.keys("acme") == ["a"]
    assert shared.worker.root.seq == 1
    assert shared.value("a") == 2
    assert shared.worker.keys("acme") == ["a", "b"]


def test_a_region_is_given_back_only_when_its_last_reader_has_left_it():
    shared = Shared()
    shared.load(10, {"a": (1, definition(1))})
    shared.worker.pin()
    old = shared.worker.root
    shared.load(20, {"a": (11, definition(2))})
    shared.writer.reclaim()
    assert shared.worker.root is old
    assert shared.worker.get("acme", "a").evaluate({}, float).value == 1
    assert len(shared.writer._left) == 1
    assert shared.value("a") == 2
    shared.writer.reclaim()
    assert shared.writer._left == []


def test_a_reader_that_stays_behind_can_be_left_only_so_often():
    shared = Shared()
    shared.load(1, {"a": (1, definition(1))})
    shared.worker.pin()
    with pytest.raises(CallError, match="a reader has not left its region"):
        for seq in range(2, 10):
            shared.load(seq, {"a": (seq, definition(seq))})
    assert shared.value("a") == shared.store.seq
    shared.arena.say(1, 0)  # it is gone
    shared.load(50, {"a": (50, definition(50))})


def test_the_level_is_published_with_the_data():
    shared = Shared()
    assert shared.worker.level is Level.EMERGENCY
    shared.writer.publish_level(0)
    shared.worker.pin()
    assert shared.worker.level is Level.HEALTHY
    shared.put("a", definition(1))
    shared.worker.pin()
    assert shared.worker.level is Level.HEALTHY


def test_the_last_good_version_survives_a_bad_one():
    shared = Shared()
    shared.put("a", definition(1))
    shared.put("a", BROKEN)
    assert shared.value("a") == 1
    assert shared.store.seq == 2
    assert shared.store.rejected == 1
    shared.load(9, {"a": (7, BROKEN), "b": (8, BROKEN)})
    assert shared.value("a") == 1
    assert shared.value("b") is None  # nobody knows a better one
    assert shared.worker.knows("acme", "b")


def test_shared_rules():
    shared = Shared()
    shared.put("$evaluators", insiders("gold"))
    shared.put("a", REFERRING)
    assert shared.value("a", tier="gold") is True
    assert shared.value("a", tier="tin") is False
    shared.put("$evaluators", insiders("tin"))
    assert shared.value("a", tier="tin") is True
    shared.put(
        "$evaluators", {"others": True}
    )  # the flag keeps the rules that it can be compiled with
    assert shared.value("a", tier="tin") is True
    assert shared.store.rejected == 1
    assert shared.worker.keys("acme") == ["a"]
    assert shared.worker.get("acme", "$evaluators") is None
    shared.load(9, {"$evaluators": (8, insiders("gold")), "a": (2, REFERRING)})
    assert shared.value("a", tier="gold") is True


def test_flags_from_the_origin_stay_until_the_stream_has_brought_them():
    shared = Shared()
    shared.put("a", definition(1))
    assert shared.store.keep_ahead("acme", "b", FlagState(5, definition(5)))
    assert not shared.store.keep_ahead("acme", "a", FlagState(1, definition(0)))
    assert not shared.store.keep_ahead("acme", "c", FlagState(6, BROKEN))
    assert (shared.value("b"), shared.worker.root.seq) == (5, 1)
    assert "b" not in shared.store.orgs["acme"].flags  # the stream's position says nothing of it
    shared.put("b", definition(2))
    assert shared.value("b") == 5  # never back
    shared.load(3, {"a": (1, definition(1))})
    assert shared.value("b") == 5
    shared.load(6, {"a": (1, definition(1))})
    assert shared.value("b") is None  # deleted since


def test_old_versions_do_not_pile_up():
    shared = Shared(limit=2 * MIB)
    big = "x" * 1000
    for n in range(6000):  # 6 MB and more, of which 1 kB is in use
        shared.put("a", definition(f"{n}{big}"))
        if n % 10 == 0:
            assert shared.value("a").startswith(f"{n}x")
    assert shared.writer.moves > 1
    assert shared.writer.used < 2 * MIB


def test_what_does_not_fit_changes_nothing():
    shared = Shared(limit=MIB)
    shared.put("a", definition(1))
    with pytest.raises(CallError, match="no room"):
        shared.put("b", definition("x" * 2 * MIB))
    with pytest.raises(CallError, match="no room"):
        shared.load(9, {"b": (8, definition("x" * 2 * MIB))})
    assert shared.store.seq == 1
    assert shared.value("a") == 1
    assert shared.value("b") is None
    shared.put("b", definition(2))
    assert shared.value("b") == 2


def test_a_full_store_still_tells_its_level():
    shared = Shared(limit=MIB)
    shared.writer.publish_level(0)
    with pytest.raises(CallError):
        for n in range(1000):
            shared.put(f"k{n}", definition("x" * 10_000))
    for level in (3, 2, 1, 0) * 20:
        shared.writer.publish_level(level)
        shared.worker.pin()
        assert shared.writer.last.level == level


def test_only_flags_in_use_are_compiled_and_only_so_many():
    shared = Shared(hot=20)
    shared.load(500, {f"k{n}": (n + 1, definition(n)) for n in range(300)})
    for n in [*range(300), *range(295, 300)]:
        assert shared.value(f"k{n}") == n
    assert shared.worker.compiled == 300
    assert shared.worker.held <= 20
    for _ in range(10):
        shared.put("other", definition(1))
        assert shared.value("k299") == 299
    assert shared.worker.compiled == 300  # a change of another flag compiles nothing


def test_the_table_grows():
    shared = Shared()
    for n in range(2000):
        shared.put(f"k{n}", definition(n), org=f"org-{n % 3}")
    assert shared.writer.moves
    assert [shared.value(f"k{n}", org=f"org-{n % 3}") for n in range(2000)] == list(range(2000))


def test_the_changes_kept_are_bounded_in_bytes_too():
    shared = Shared(limit=64 * MIB, ring=1000)
    for _n in range(30):
        shared.put("a", definition("x" * 300_000))
    kept = shared.store.changes_since(25, 100)
    assert [change.seq for change in kept] == [26, 27, 28, 29, 30]
    assert shared.store._kept <= RING_BYTES
    assert shared.store.changes_since(1, 100) is None


def test_what_subscribers_get_is_what_a_plain_store_gives():
    plain, shared = Store(), Shared()
    for seq, (key, flag) in enumerate(
        [("a", definition(1)), ("b", definition("ü\u2028")), ("a", None), ("$evaluators", {})], 1
    ):
        change = Change(seq, "acme", seq, key, flag, at=7)
        assert plain.apply(change)
        assert shared.store.apply(change)
    both = [
        [json.loads(sse.encode(message).split(b"data: ")[1]) for message in messages]
        for messages in (
            [*plain.changes_since(0, 9), plain.snapshot()],
            [*shared.store.changes_since(0, 9), shared.store.snapshot()],
        )
    ]
    assert both[0] == both[1]


def test_raw_snapshots_are_the_same():
    raw, cooked = Shared(), Shared()
    states = {"a": FlagState(1, definition({"deep": [1, "ä"]}))}
    event = sse.Parser().feed(sse.encode(Snapshot(3, {"acme": OrgState(2, states)})))[0]
    assert raw.store.replace(sse.decode(event, raw=True))
    assert cooked.store.replace(sse.decode(event))
    assert raw.value("a") == cooked.value("a") == {"deep": [1, "ä"]}


KEYS = st.sampled_from(["a", "b", "ab", "", "ü", "$evaluators2"])
ORGS = st.sampled_from(["x", "xa", "", "umbrella"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), ORGS, KEYS, st.integers(0, 5)),
        st.tuples(st.just("delete"), ORGS, KEYS, st.none()),
        st.tuples(st.just("replace"), ORGS, KEYS, st.integers(0, 5)),
        st.tuples(st.just("pin"), st.none(), st.none(), st.none()),
        st.tuples(st.just("move"), st.none(), st.none(), st.none()),
    ),
    max_size=40,
)


@settings(max_examples=200, deadline=None)
@given(STEPS)
def test_a_reader_sees_what_a_dictionary_held_when_it_pinned(steps):
    """Whatever is written, and however often it moves: the reader's moment is one, and it is the pinned one."""
    shared, model = Shared(limit=MIB, hot=16), {}
    shared.load(1, {}, org="x")
    pinned, at = {}, 1
    shared.worker.pin()
    for what, org, key, value in steps:
        if what == "put":
            shared.put(key, definition(value), org=org)
            model[org, key] = value
        elif what == "delete":
            shared.put(key, None, org=org)
            model.pop((org, key), None)
        elif what == "replace":
            if len(shared.writer._left) > 2:
                continue
            model = {(org, key): value}
            seq = shared.store.seq + 1
            shared.load(seq, {key: (seq, definition(value))}, org=org)
        elif what == "move":
            if shared.writer._free() is not None and len(shared.writer._left) < 2:
                shared.writer._move(shared.writer._items(), 0, shared.writer.last)
        else:
            shared.worker.pin()
            pinned, at = dict(model), shared.store.seq
        assert shared.worker.root.seq == at
        seen = {
            (org, key): shared.worker.get(org, key).evaluate({}, float).value
            for org in ("x", "xa", "", "umbrella")
            for key in shared.worker.keys(org)
        }
        assert seen == pinned


def test_more_than_a_region_is_refused_before_anything_is_written():
    with pytest.raises(StoreFull):
        Writer(Arena(1 << 20)).replace([], 1 << 20, 1)
