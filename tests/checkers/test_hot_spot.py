"""Hot spots: workers that come, users that move by a weight, and all that can be wrong with it."""

import pytest
from build import Builder
from hypothesis import given, settings
from hypothesis import strategies as st
from sound import SOUND, spotted

from harness.verdict import Verdict

PASS, FAIL, UNKNOWN = Verdict.PASS, Verdict.FAIL, Verdict.UNKNOWN
CHECK = SOUND["hot_spot"]()[0]
CLAIMS = ("added", "answering", "moved", "stayed", "returned")


def other_than_pass(**wrong):
    found = CHECK(spotted(Builder(), **wrong).history(20.0))
    told = dict(zip(CLAIMS, [f.verdict for f in found], strict=True))
    return {claim: verdict for claim, verdict in told.items() if verdict is not PASS}


def test_sound():
    assert other_than_pass() == {}


@pytest.mark.parametrize("more", [1, 4, 6])
def test_fewer_or_more_workers_than_promised(more):
    assert other_than_pass(more=more) == {"added": FAIL}


def test_no_workers():
    assert other_than_pass(more=0) == {"added": FAIL, "answering": UNKNOWN}


def test_workers_that_are_told_and_not_there():
    assert other_than_pass(added=3) == {"answering": FAIL}


def test_a_weight_that_does_nothing():
    assert other_than_pass(kept=1.0) == {"moved": FAIL}


def test_more_users_moved_than_the_weight_says():
    assert other_than_pass(kept=0.3) == {"moved": FAIL}


def test_users_that_are_sent_to_a_farther_node():
    assert other_than_pass(to="pop-3") == {"moved": FAIL}


@pytest.mark.parametrize("weights", [(), ((8.0, 0.5), (15.2, 1.0))])
def test_a_weight_that_is_not_lowered_or_late(weights):
    assert other_than_pass(weights=weights)["moved"] is FAIL


def test_users_that_do_not_come_back():
    assert other_than_pass(back=18.0) == {"returned": FAIL}


def test_users_that_are_sent_away_for_nothing():
    b = spotted(Builder()).request("users", 1.005, node="pop-2")
    found = CHECK(b.history(20.0))
    assert [f.verdict for f in found] == [PASS, PASS, PASS, FAIL, PASS]


def test_a_share_too_small_to_be_told_from_none_shows_nothing():
    weights = ((5.0, 0.97), (15.2, 1.0))
    assert other_than_pass(weights=weights, kept=0.97) == {"moved": UNKNOWN}


@settings(max_examples=25, deadline=None)
@given(st.floats(0.2, 0.8))
def test_the_share_of_any_weight_is_within_the_bound_and_another_is_not(weight):
    weights = ((5.0, weight), (15.2, 1.0))
    assert other_than_pass(weights=weights, kept=weight) == {}
    assert other_than_pass(weights=weights, kept=weight - 0.2) == {"moved": FAIL}
