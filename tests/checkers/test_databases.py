"""Who acts as primary, and who reads there: `exclusive` and `absent`."""

from dataclasses import replace

import pytest
from build import Builder
from hypothesis import given
from hypothesis import strategies as st
from sound import databases

from harness.checkers.absent import Absent
from harness.checkers.exclusive import Exclusive
from harness.verdict import Verdict

PASS, FAIL, UNKNOWN = Verdict.PASS, Verdict.FAIL, Verdict.UNKNOWN
ONE = Exclusive(requirement="D3", nodes=("db-1", "db-2"), field="accepting")
UNREAD = Absent(
    requirement="S3",
    nodes=("db-1", "db-2"),
    field="readers",
    keys=("stream-*",),
    when={"accepting": True},
)


def judged(checker, b):
    (finding,) = checker(b.history(10))
    return finding


def acting(b, t, node, term, *, acts=True):
    return b.status(t, node, data={"accepting": acts, "epoch": term})


def told(*seen):
    b = acting(acting(Builder(), 0, "db-1", 1), 0, "db-2", 1, acts=False)
    for t, node, term in seen:
        acting(b, t, node, term)
    return judged(ONE, b)


def test_a_hand_over_is_none_of_its_business():
    assert judged(ONE, databases(Builder())).verdict is PASS
    assert told((3, "db-2", 2), (5, "db-1", 3)).verdict is PASS


def test_two_in_one_term():
    found = told((3, "db-2", 1), (3.1, "db-2", 2))
    assert found.verdict is FAIL
    assert (
        found.reason
        == "db-2 acts in term 1 at 3.000 s, both in one term: db-1 acts in term 1 at 0.000 s"
    )


def test_one_that_was_replaced_goes_on():
    found = told((3, "db-2", 2), (6, "db-1", 1))
    assert found.verdict is FAIL
    assert found.value == pytest.approx(3.0)
    assert "though it had been replaced: db-2 acts in term 2 at 3.000 s" in found.reason


def test_a_status_may_be_as_old_as_its_question():
    assert told((3, "db-2", 2), (3.5, "db-1", 1)).verdict is PASS


def test_where_nothing_changed_hands_nothing_was_excluded():
    found = told((3, "db-1", 1))
    assert found.verdict is UNKNOWN
    assert "nodes acted in 1 terms" in found.reason


def test_who_never_told_may_have_acted():
    b = acting(Builder(), 0, "db-1", 1)
    acting(b, 3, "db-1", 2)
    assert judged(ONE, b).reason == "db-2 never told its status"


@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.sampled_from(["db-1", "db-2"]), st.integers(1, 3)),
        max_size=8,
    )
)
def test_against_every_pair(seen):
    """The model looks at all pairs: same term on two nodes, or an earlier term a second or more after a later one."""
    seen = [(0, "db-1", 1), *seen]
    clash = any(
        (a[2] == b[2] and a[1] != b[1]) or (a[2] > b[2] and b[0] >= a[0] + 1)
        for a in seen
        for b in seen
    )
    b = acting(Builder(), 0, "db-2", 1, acts=False)
    for t, node, term in seen:
        acting(b, t, node, term)
    found = judged(replace(ONE, changes=0), b)
    assert found.verdict is (FAIL if clash else PASS)


def test_what_must_be_absent_is():
    assert judged(UNREAD, databases(Builder())).verdict is PASS


def test_one_that_is_there_once():
    b = databases(Builder())
    b.status(9.95, "db-2", data={"accepting": True, "epoch": 2, "readers": {"stream-2": 1}})
    found = judged(UNREAD, b)
    assert found.verdict is FAIL
    assert found.reason == "stream-2 was among readers of db-2"
    assert found.value == 1


def test_absence_of_what_is_nowhere_says_nothing():
    found = judged(replace(UNREAD, keys=("hub-*",)), databases(Builder()))
    assert found.verdict is UNKNOWN
    assert "hub-* was seen nowhere else either" in found.reason
    assert judged(replace(UNREAD, when={"accepting": 7}), databases(Builder())).verdict is UNKNOWN
