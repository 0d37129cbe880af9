"""Whether something else was seen to do a lost component's work, and the component itself again after it came back."""

from dataclasses import replace

import pytest
from build import Builder, steady
from hypothesis import given
from hypothesis import strategies as st
from sound import SOUND, taken_over

from harness.checkers.mitigation import Mitigation
from harness.verdict import Verdict

PASS, FAIL, UNKNOWN = Verdict.PASS, Verdict.FAIL, Verdict.UNKNOWN
CHECK, _ = SOUND["mitigation"]()


def judged(b, check=CHECK, end=10.0):
    lost, back = check(b.history(end))
    return lost, back


def hub(*nodes, heal=6.0, **fault):
    return taken_over(Builder().fault(3.0, heal, label="hub", **fault), nodes)


def test_how_long_it_took_and_back():
    lost, back = judged(hub((0, "hub-1"), (3.3, "hub-2"), (7.2, "hub-1")))
    assert (lost.verdict, back.verdict) == (PASS, PASS)
    assert (lost.value, back.value) == (pytest.approx(0.35), pytest.approx(1.25))
    assert lost.error == pytest.approx(0.1)
    assert (lost.subject, back.subject) == (
        "Regional hubs lost to hub",
        "Regional hubs back after hub",
    )
    assert lost.claim == "hub-2 does the work within 1 s"
    assert back.claim == "again hub-1 does the work within 2 s"


def test_nothing_takes_over():
    lost, back = judged(hub((0, "hub-1"), (3.3, "")))
    assert (lost.verdict, lost.reason) == (FAIL, "it was '' at 5.950 s")
    assert back.verdict is FAIL


def test_it_takes_too_long():
    lost, back = judged(hub((0, "hub-1"), (4.5, "hub-2"), (9, "hub-1")))
    assert (lost.verdict, back.verdict) == (FAIL, FAIL)


def test_one_that_did_the_work_all_along_shows_nothing():
    lost, back = judged(hub((0, "hub-2"), (7, "hub-1")))
    assert lost.verdict is UNKNOWN
    assert "before the fault it was 'hub-2'" in lost.reason
    assert back.verdict is PASS


def test_the_lost_one_is_seen_to_do_it_after_all():
    lost, _ = judged(hub((0, "hub-1"), (3.3, "hub-2"), (5.0, "hub-1"), (5.9, "hub-2")))
    assert lost.value == pytest.approx(2.95)
    assert lost.verdict is FAIL


def test_it_does_not_come_back():
    lost, back = judged(hub((0, "hub-1"), (3.3, "hub-2")))
    assert (lost.verdict, back.verdict) == (PASS, FAIL)


def test_not_watched_for_long_enough_to_say_that_it_does_not_come_back():
    lost, back = judged(hub((0, "hub-1"), (3.3, "hub-2"), heal=9.0))
    assert (lost.verdict, back.verdict) == (PASS, UNKNOWN)


def test_the_way_back_ends_where_the_next_fault_begins():
    b = hub((0, "hub-1"), (3.3, "hub-2"), (6.5, "hub-1"), (8.0, "hub-2"))
    assert judged(b.fault(7.9, 9.0, n=2, label="other"))[1].verdict is PASS
    assert (
        judged(hub((0, "hub-1"), (3.3, "hub-2"), (6.5, "hub-1"), (8, "hub-2")))[1].verdict is FAIL
    )


@pytest.mark.parametrize("spoiled", [{"bit": False}, {"healed": False}, {"verified": False}])
def test_a_fault_that_is_not_shown(spoiled):
    found = judged(hub((0, "hub-1"), (3.3, "hub-2"), (7.2, "hub-1"), **spoiled))
    assert [each.verdict for each in found] == [UNKNOWN, UNKNOWN]


def test_never_healed():
    lost, back = judged(hub((0, "hub-1"), (3.3, "hub-2"), heal=None))
    assert (lost.verdict, back.verdict) == (PASS, UNKNOWN)
    assert "never healed" in back.reason


def test_what_took_over_may_go_on():
    b = hub((0, "hub-1"), (3.3, "hub-2"))
    assert [f.verdict for f in replace(CHECK, back_within=None)(b.history(10))] == [PASS]


def test_there_was_no_such_fault():
    (found,) = replace(CHECK, fault="other")(hub((0, "hub-1")).history(10))
    assert (found.verdict, found.reason) == (UNKNOWN, "the history has no fault other")


DATABASES = Mitigation(
    requirement="C2",
    component="Origin DB",
    fault="db",
    nodes=("db-1", "db-2"),
    field="accepting",
    normal=("db-1",),
    instead=("db-2",),
    within=2.0,
    back_within=2.0,
)


def databases(spans):
    """Who accepts writes in which span; db-1 does not answer while it is down."""
    b = Builder().fault(3.0, 6.0, label="db")
    for n in range(100):
        t = n * 0.1
        for node in DATABASES.nodes:
            acting = any(a <= t < z and who == node for a, z, who in spans)
            down = node == "db-1" and 3.0 <= t < 6.0
            b.status(t + 0.05, node, ok=not down, data={} if down else {"accepting": acting})
    return b


def test_of_several_nodes_the_one_that_says_so():
    spans = [(0, 3, "db-1"), (4, 7, "db-2"), (7.5, 10, "db-1")]
    lost, back = judged(databases(spans), DATABASES)
    assert (lost.verdict, back.verdict) == (PASS, PASS)
    assert lost.value == pytest.approx(1.05)


def test_nobody_says_so():
    lost, _ = judged(databases([(0, 3, "db-1")]), DATABASES)
    assert (lost.verdict, lost.reason) == (FAIL, "it was None at 5.950 s")


POPS = Mitigation(
    requirement="C2",
    component="Edge PoPs",
    fault="pop",
    probe="users",
    normal=("pop-1",),
    instead=("pop-2",),
    within=1.0,
    back_within=1.0,
)


def answered(who, lost=(3.0, 3.4)):
    b = Builder().fault(3.0, 6.0, label="pop").probe("users", interval=0.05, budget=0.05)

    def answer(t):
        failed = lost[0] <= t < lost[1]
        return {"outcome": "fail", "error": "TIMEOUT"} if failed else {"node": who(t)}

    return steady(b, "users", 0, 10, 0.05, answer)


def test_by_who_answers_requests():
    lost, back = judged(answered(lambda t: "pop-2" if 3 <= t < 6.5 else "pop-1"), POPS)
    assert (lost.verdict, back.verdict) == (PASS, PASS)
    assert lost.value == pytest.approx(0.401)


def test_requests_that_nobody_answers():
    lost, _ = judged(answered(lambda t: "pop-1", lost=(3.0, 6.0)), POPS)
    assert lost.verdict is UNKNOWN  # that is for `availability` to judge
    assert lost.reason.startswith("nobody was seen")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"component": "Hubs"}, "no component 'Hubs'; there are Origin DB, Streaming servers"),
        ({"probe": "users"}, "give one of node, nodes and probe"),
        ({"node": ""}, "give one of node, nodes and probe"),
        ({"field": ""}, "give a field with node or nodes"),
        ({"normal": ()}, "must each name something"),
    ],
)
def test_what_makes_no_sense_is_refused(changes, says):
    with pytest.raises(ValueError, match=says):
        replace(CHECK, **changes)


@given(
    st.lists(st.sampled_from(["hub-1", "hub-2", ""]), min_size=10, max_size=10),
)
def test_against_brute_force(course):
    """One sight a second: the least number of seconds after which only what is not the lost one was seen."""
    nodes = [(float(n), who) for n, who in enumerate(course)]
    lost, back = judged(hub(*nodes), replace(CHECK, within=10.0, back_within=10.0))

    def least(window, wanted, unwanted):
        seen = [(n * 0.1 + 0.05, course[n // 10]) for n in range(100)]
        seen = [(t, who) for t, who in seen if window[0] <= t < window[1]]
        for n, (t, who) in enumerate(seen):
            if who == wanted and all(later != unwanted for _, later in seen[n:]):
                return pytest.approx(t - window[0])
        return None

    assert lost.value == least((3.0, 6.0), "hub-2", "hub-1")
    assert back.value == least((6.0, 10.0), "hub-1", "hub-2")
