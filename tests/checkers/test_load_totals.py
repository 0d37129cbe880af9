"""Sent = received. The model here makes every request for itself and counts it on a node, one after the other."""

import random

import pytest
from build import Builder, ns
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.checkers.load_totals import LoadTotals
from harness.history import Attempt
from harness.verdict import Verdict

# How long an example takes says something of the machine only.
UNTIMED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

PASS, FAIL, UNKNOWN = Verdict.PASS, Verdict.FAIL, Verdict.UNKNOWN


def check(b, **more):
    (found,) = LoadTotals(requirement="E3", load="load", nodes=("pop-a",), **more)(b.history(10.0))
    return found


def simple(before=5, after=105, requests=100, **more):
    return Builder().counted(0.5, before).load(1.0, 9.0, requests, **more).counted(9.5, after)


def test_equal_to_the_request():
    found = check(simple())
    assert (found.verdict, found.value) == (PASS, 0.0)
    assert found.figures["nodes_counted"] == found.figures["locust_answered"] == 100


@pytest.mark.parametrize(("after", "said"), [(104, "1 requests fewer"), (106, "1 requests more")])
def test_one_request_of_a_hundred(after, said):
    found = check(simple(after=after))
    assert found.verdict is FAIL
    assert said in found.reason


def test_what_was_not_answered_may_have_been_counted_or_not():
    for after in (103, 104, 105):
        assert check(simple(after=after, unanswered=2)).verdict is UNKNOWN
    assert check(simple(after=102, unanswered=2)).verdict is FAIL
    assert check(simple(after=106, unanswered=2)).verdict is FAIL


@pytest.mark.parametrize(
    ("spoiled", "said"),
    [
        (Builder().counted(0.5, 5).counted(9.5, 105), "never said that it was done"),
        (simple(error="locust was lost: worker 1 ended with -9"), "worker 1 ended with -9"),
        (simple(before=5, after=5, requests=0), "was never answered"),
        (Builder().load(1.0, 9.0, 100).counted(9.5, 105), "before its begin"),
        (Builder().counted(0.5, 5).load(1.0, 9.0, 100), "after its end"),
        # Asked for before the load was done, though answered afterwards: what it says is of no known moment.
        (
            Builder().counted(0.5, 5).load(1.0, 9.0, 100).counted(9.5, 105, took=0.6),
            "after its end",
        ),
        (
            Builder().counted(0.5, 5).load(1.0, 9.0, 100).counted(9.5, 105, boot="b2"),
            "started anew",
        ),
        (Builder().status(0.5).load(1.0, 9.0, 100).status(9.5), "before its begin"),
    ],
)
def test_without_sound_counts_nobody_knows(spoiled, said):
    found = check(spoiled)
    assert found.verdict is UNKNOWN
    assert said in found.reason


def test_what_other_probes_asked_is_not_the_loads():
    b = simple(after=107).probe("users", interval=0.1)
    for t in (2.0, 3.0):
        b.request("users", t, attempts=[Attempt(ns(t), ns(t + 0.01))])
    assert check(b, probes=("users",)).verdict is PASS
    assert check(b).verdict is FAIL


def test_a_probe_that_is_not_there_can_not_be_taken_off():
    found = check(simple(), probes=("users",))
    assert found.verdict is UNKNOWN
    assert "users is not in the history" in found.reason


def test_of_several_nodes_the_sum_counts_and_of_several_kinds_the_one_asked_for():
    b = simple(after=65).counted(0.6, 0, node="pop-b").counted(9.6, 40, node="pop-b")
    (found,) = LoadTotals(requirement="E3", load="load", nodes=("pop-a", "pop-b"))(b.history(10.0))
    assert found.verdict is PASS
    assert check(simple(), endpoint="bulk").verdict is UNKNOWN


def test_the_log_position_counts_writes():
    b = Builder().status(0.5, asked=ns(0.4), version=7).load(1.0, 9.0, 50, name="write")
    b.status(9.5, asked=ns(9.4), version=57)
    assert check(b, field="version").verdict is PASS


def played(seed, dropped):
    """A node that counts what it is asked, but for `dropped` of the load's requests, at its own moment within each."""
    chance = random.Random(seed)
    b = Builder().probe("users", interval=0.1)
    counted_at = []
    for n in range(90):
        t = 0.1 + n * 0.1
        took = chance.choice((0.001, 0.02, 0.15))
        counted_at.append(t + took * chance.random())
        b.request("users", t, took=took, attempts=[Attempt(ns(t), ns(t + took))])
    load = sorted(chance.uniform(2.0, 7.0) for _ in range(200))
    counted_at += load[dropped:]
    for n in range(60):
        asked = 0.05 + n * 0.16
        took = chance.choice((0.001, 0.03))
        seen = asked + took * chance.random()
        b.counted(asked + took, sum(at <= seen for at in counted_at), took=took)
    return b.load(1.99, 7.01, len(load))


@UNTIMED
@given(st.integers(0, 10_000), st.integers(0, 3))
def test_it_passes_only_what_is_equal_and_fails_only_what_is_not(seed, dropped):
    verdict = check(played(seed, dropped), probes=("users",)).verdict
    assert verdict in ({PASS, UNKNOWN} if dropped == 0 else {FAIL, UNKNOWN})


def test_most_moments_are_quiet_enough_to_tell():
    told = [check(played(seed, 0), probes=("users",)).verdict for seed in range(40)]
    assert told.count(PASS) > 30
