from dataclasses import replace

import pytest
from build import Builder, steady
from hypothesis import given
from hypothesis import strategies as st
from sound import L1, SOUND

from harness.checkers.levels import Levels, Step
from harness.checkers.timeline import CHAIN, adjacent, boots_of
from harness.verdict import Verdict

PASS, FAIL, UNKNOWN = Verdict.PASS, Verdict.FAIL, Verdict.UNKNOWN
PLAIN = Levels(requirement="P3")
HEALTHY, LOW, LOWER, EMERGENCY = CHAIN


def chain(steps):
    """The verdict on a node's own record."""
    return PLAIN(Builder().fault(2, 6).status(9.9, level="HEALTHY", steps=steps).history(10))[
        0
    ].verdict


@given(st.lists(st.sampled_from(CHAIN), min_size=2, max_size=8))
def test_only_neighbours_along_the_chain(walk):
    steps = [(n + 1.0, a, b) for n, (a, b) in enumerate(zip(walk, walk[1:], strict=False))]
    allowed = {(HEALTHY, LOW), (LOW, LOWER), (LOWER, EMERGENCY)}
    fine = all((a, b) in allowed or (b, a) in allowed for _, a, b in steps)
    assert chain(steps) is (PASS if fine else FAIL)


def test_a_record_with_a_gap():
    assert chain([(1, HEALTHY, LOW), (2, LOWER, EMERGENCY)]) is FAIL
    assert chain([]) is UNKNOWN
    assert not adjacent("HEALTHY", "SOMETHING")


def test_a_record_that_ends_early_says_nothing_of_what_came_after():
    b = Builder().fault(2, 6).status(4, level="HEALTHY", steps=L1[:1])
    assert PLAIN(b.history(10))[0].verdict is UNKNOWN


def path(steps, wanted, status=9.9):
    b = Builder().fault(2, 6).status(1, level=HEALTHY).status(status, level="x", steps=steps)
    found = Levels(requirement="P3", steps=wanted)(b.history(10))
    return [f.verdict for f in found[1:]]


TWO = (Step(to=LOW, within=1.0), Step(to=HEALTHY, within=1.0, since="heal"))


def test_the_path_and_its_times():
    assert path(L1, TWO) == [PASS, PASS, PASS]
    late = ((3.5, HEALTHY, LOW), (6.5, LOW, HEALTHY))
    assert path(late, TWO) == [PASS, FAIL, PASS]
    assert path(L1[:1], TWO) == [FAIL, PASS, FAIL]
    assert path((), TWO) == [FAIL, FAIL, FAIL]
    more = (*L1, (8.0, HEALTHY, LOW))
    assert path(more, TWO) == [FAIL, PASS, PASS]


def test_what_came_before_the_fault_is_no_part_of_the_path():
    start = ((0.1, EMERGENCY, LOWER), (0.2, LOWER, LOW), (0.3, LOW, HEALTHY))
    assert path((*start, *L1), TWO) == [PASS, PASS, PASS]


def test_a_step_may_not_come_too_early():
    early = (Step(to=LOW, not_before=0.6), Step(to=HEALTHY, not_before=3.9, since="previous"))
    assert path(L1, early) == [PASS, FAIL, PASS]


def test_a_node_not_watched_until_the_end():
    assert path(L1[:1], TWO, status=4.0) == [UNKNOWN, PASS, UNKNOWN]


def test_a_step_of_a_fault_that_is_not_there():
    assert path(L1, (Step(to=LOW, within=1.0, fault="flood"), TWO[1]))[1] is UNKNOWN


def clients(answer, **more):
    b = Builder().fault(2.0, 6.0).probe("users", interval=0.1, budget=0.05)
    b.status(1.0, level="HEALTHY").status(9.9, level="HEALTHY", steps=L1)
    steady(b, "users", 0, 10, 0.1, answer)
    checker, _ = SOUND["levels"]()
    found = replace(checker, steps=(), **more)(b.history(10))
    return [f.verdict for f in found[1:]]


def right(t):
    low = 2.5 < t < 6.5
    return {"node": "pop-a", "level": LOW if low else HEALTHY, "stale": low}


def test_flags_and_levels_as_clients_see_them():
    assert clients(right) == [PASS, PASS]
    assert clients(lambda t: right(t) | ({"stale": False} if t == 4.0 else {})) == [FAIL, PASS]
    assert clients(lambda t: right(t) | ({"stale": True} if t == 1.0 else {})) == [FAIL, PASS]
    assert clients(lambda t: right(t) | ({"emergency": True} if t == 4.0 else {})) == [FAIL, PASS]
    assert clients(lambda t: right(t) | ({"level": LOW, "stale": True} if t == 8.0 else {})) == [
        PASS,
        FAIL,
    ]
    lower = {"level": LOWER, "stale": False, "emergency": True}
    assert clients(lambda t: right(t) | (lower if t == 4.0 else {})) == [PASS, FAIL]
    assert clients(lambda t: right(t) | (lower | {"emergency": False} if t == 4.0 else {})) == [
        FAIL,
        FAIL,
    ]


@pytest.mark.parametrize(("slack", "verdict"), [(0.2, PASS), (0.05, FAIL)])
def test_the_answer_may_lag_the_record_by_the_slack_only(slack, verdict):
    assert clients(lambda t: right(t - 0.15), slack=slack) == [PASS, verdict]


def test_answers_without_a_level_show_nothing():
    assert clients(lambda t: {"node": "pop-a"}) == [UNKNOWN, UNKNOWN]


def test_every_level_of_the_path_must_be_seen_by_clients():
    checker, b = SOUND["levels"]()
    steps = (*checker.steps, Step(to=LOW))
    found = replace(checker, steps=steps)(b.history(10))
    assert {f.verdict for f in found if f.subject == "users"} == {PASS}
    found = replace(checker, steps=(*checker.steps, Step(to=LOWER)))(b.history(10))
    assert {f.verdict for f in found if f.subject == "users"} == {UNKNOWN}


def test_lives_of_a_node():
    b = (
        Builder()
        .status(1, boot="a", level=HEALTHY)
        .status(2, boot="a", level=HEALTHY, steps=((1.5, HEALTHY, LOW),))
    )
    b.status(3, ok=False, error="TIMEOUT", boot="").status(4, boot="b", level=LOWER)
    first, second = boots_of(b.history(5), "pop-a")
    assert first.levels(0, 10**9) == {HEALTHY}
    assert first.levels(1_400_000_000, 1_600_000_000) == {HEALTHY, LOW}
    assert first.levels(1_600_000_000, 1_700_000_000) == {LOW}
    assert second.levels(10**9, 10**9) == set()
    assert second.levels(4 * 10**9, 4 * 10**9) == {LOWER}
