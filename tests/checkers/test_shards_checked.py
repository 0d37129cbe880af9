"""Organisations on shards: `placement` and `untouched`."""

from dataclasses import replace

import pytest
from build import Builder
from hypothesis import given
from hypothesis import strategies as st
from sound import SOUND, sharded

from harness.checkers.placement import Placement
from harness.checkers.untouched import Untouched
from harness.verdict import Verdict

PASS, FAIL, UNKNOWN = Verdict.PASS, Verdict.FAIL, Verdict.UNKNOWN
GROWN = Placement(requirement="D4", listings=("before", "after"), shards=4, writes=("writer",))
MOVED = Untouched(requirement="D4", probe="writer", before="before", after="after", phases=("x",))
ORGS = ("o0", "o1", "o2", "o3")
HALVES = {"db1": {0: ["o0"]}, "db2": {1: ["o1"]}, "db3": {2: ["o2"], 3: ["o3"]}}


def written(**more):
    b = Builder().phase(0, "x").probe("writer", "write", interval=0.1, budget=0.05)
    for n in range(100):
        b.write("writer", n * 0.1, n + 1, n // 4 + 1, key=f"{ORGS[n % 4]}/f", **more)
    return b


def listed(after, shards=4, before=None):
    b = written()
    b.placed(2.0, "before", 2, **(before or {"db1": {0: ["o0", "o2"]}, "db2": {1: ["o1", "o3"]}}))
    return b.placed(8.0, "after", shards, **after)


def judged(b, checker=GROWN):
    """The verdicts by subject, and all that was said."""
    found = checker(b.history(10))
    text = "\n".join(f"{f.reason} {[e.text for e in f.evidence]}" for f in found)
    return {f.subject: f.verdict for f in found}, text


def test_a_growth_as_it_should_be():
    verdicts, _ = judged(listed(HALVES))
    assert verdicts == dict.fromkeys(["before", "after", "writer", "before and after"], PASS)


@pytest.mark.parametrize(
    ("after", "says"),
    [
        (HALVES | {"db4": {2: ["o2"]}}, "o2 is at: db3, shard 2; db4, shard 2"),
        (HALVES | {"db4": {"-": ["o2"]}}, "o2 is at: db3, shard 2; db4, shard none"),
        (HALVES | {"db3": {2: [], 3: ["o3"]}}, "o2 is at: no place"),
        (HALVES | {"db3": {"-": ["o2"], 3: ["o3"]}}, "o2 is at: db3, shard none"),
    ],
)
def test_an_organisation_in_no_place_or_two(after, says):
    verdicts, text = judged(listed(after))
    assert verdicts["after"] is FAIL
    assert says in text
    assert verdicts["before"] is PASS


@pytest.mark.parametrize(
    ("after", "says"),
    [
        # A hash with the number of shards in it: all are somewhere else.
        (
            {"db1": {0: ["o1"], 1: ["o0"]}, "db3": {2: ["o2"], 3: ["o3"]}},
            "o0 was on shard 0 and is on 1",
        ),
        (HALVES | {"db1": {}, "db4": {0: ["o0"]}}, "o0 went from db1, shard 0 to db4, shard 0"),
    ],
)
def test_what_need_not_move(after, says):
    verdicts, text = judged(listed(after))
    assert verdicts["before and after"] is FAIL
    assert says in text
    assert verdicts["after"] is PASS


def test_all_have_moved_though_each_might():
    after = {"db3": {2: ["o0", "o2"], 3: ["o1", "o3"]}}
    verdicts, text = judged(listed(after))
    assert verdicts["before and after"] is FAIL
    assert "4 of 4 organisations have moved" in text
    assert judged(listed(after), replace(GROWN, most_moved=1.0))[0]["before and after"] is PASS


def test_too_few_shards():
    before = {"db1": {0: ["o0", "o2"]}, "db2": {1: ["o1", "o3"]}}
    verdicts, text = judged(listed(before, shards=2))
    assert verdicts["before and after"] is FAIL
    assert "there are 2 shards, not 4" in text
    assert judged(listed(before, shards=2), replace(GROWN, shards=2))[0]["before and after"] is PASS


def test_a_growth_in_which_nothing_moved_shows_nothing():
    same = {"db1": {0: ["o0", "o2"]}, "db2": {1: ["o1", "o3"]}}
    verdicts, _ = judged(listed(same))
    assert verdicts["before and after"] is UNKNOWN


@pytest.mark.parametrize("again", [lambda n: n // 4 + 1 - (n >= 50), lambda n: 60 - n])
def test_a_version_given_out_twice_or_a_smaller_one_later(again):
    verdicts, _ = judged(sharded(Builder(), again))
    assert verdicts["writer"] is FAIL
    assert verdicts["before and after"] is PASS


def test_versions_are_each_organisations_own():
    """All four have the same ones."""
    assert judged(sharded(Builder()))[0]["writer"] is PASS
    assert judged(sharded(Builder(), lambda _: -1))[0]["writer"] is UNKNOWN


def test_a_listing_that_was_cut_or_is_none_says_nothing():
    b = listed(HALVES)
    assert b.events[-1].label == "after"
    for data in (b.events[-1].data | {"organisations": 5}, {"shards": 4}, "no list"):
        spoiled = listed(HALVES)
        del spoiled.events[-1]
        spoiled.called(8.0, "after", 0.01, status=200, data=data)
        verdicts, _ = judged(spoiled)
        assert (verdicts["after"], verdicts["before and after"]) == (UNKNOWN, UNKNOWN)
    refused = listed(HALVES)
    del refused.events[-1]
    refused.called(8.0, "after", 0.01, status=503, data={})
    assert judged(refused)[0]["after"] is UNKNOWN
    assert judged(written())[0]["before"] is UNKNOWN


PLACES = st.tuples(st.sampled_from(["db1", "db2", "db3"]), st.integers(0, 3))


@given(st.lists(PLACES, min_size=4, max_size=4), st.booleans())
def test_beside_a_count_by_hand(at, keep):
    """Where each of four organisations is to be, by chance; beside what the rules say of each."""
    before = {"o0": ("db1", 0), "o2": ("db1", 0), "o1": ("db2", 1), "o3": ("db2", 1)}
    after = dict(zip(ORGS, at, strict=True)) | ({"o0": ("db1", 0)} if keep else {})
    servers = {}
    for org, (server, shard) in after.items():
        servers.setdefault(server, {}).setdefault(shard, []).append(org)
    wrong = moved = 0
    for org, (server, shard) in after.items():
        was = before[org]
        moved += was != (server, shard)
        same_rest, same_number = shard in (was[1], was[1] + 2), shard == was[1]
        wrong += not same_rest or (same_number and server != was[0])
    expected = FAIL if wrong or moved > 3 else PASS if moved else UNKNOWN
    assert judged(listed(servers))[0]["before and after"] is expected


def failing(b, org, t):
    """One write of that organisation at `t` is not answered well."""
    return b.write("writer", t, 1000, took=0.01, outcome="unknown", key=f"{org}/f")


def untouched(b, checker=MOVED):
    (finding,) = checker(b.history(10))
    return finding


def test_failures_of_what_moves_are_its_own():
    assert untouched(listed(HALVES)).verdict is PASS
    found = untouched(failing(listed(HALVES), "o2", 5.0))
    assert (found.verdict, found.figures["untouched"], found.figures["touched"]) == (PASS, 2, 2)
    found = untouched(failing(listed(HALVES), "o0", 5.0))
    assert (found.verdict, found.value) == (FAIL, 1)
    assert "o0/f" in found.evidence[0].text


def test_only_the_phases_named_count():
    b = failing(listed(HALVES), "o0", 5.02).phase(4.9, "api-lost").phase(5.2, "y")
    assert untouched(b).verdict is PASS
    assert untouched(b, replace(MOVED, phases=("x", "api-lost"))).verdict is FAIL
    assert untouched(b, replace(MOVED, phases=("x", "never"))).verdict is UNKNOWN


def test_nobody_touched_shows_nothing():
    same = {"db1": {0: ["o0", "o2"]}, "db2": {1: ["o1", "o3"]}}
    assert untouched(listed(same)).verdict is UNKNOWN


def test_the_loss_of_a_shard_must_be_felt_by_its_own():
    checker, b = SOUND["untouched"]()
    assert checker(b.history(10))[0].verdict is PASS
    assert replace(checker, lost="db1")(b.history(10))[0].verdict is UNKNOWN
    b.request("users", 4.005, key="o0/f", outcome="unknown", error="TIMEOUT")
    (found,) = checker(b.history(10))
    assert (found.verdict, found.value) == (FAIL, 1)
    assert replace(checker, lost="db9")(b.history(10))[0].verdict is UNKNOWN


@pytest.mark.parametrize("given", [{}, {"after": "a", "lost": "db"}, {"lost": "db"}])
def test_one_of_two_ways_to_be_touched(given):
    with pytest.raises(ValueError, match="lost"):
        Untouched(requirement="D4", probe="p", before="b", phases=("x",), **given)
