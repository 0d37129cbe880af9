"""Where one client's requests went, against counting them by hand."""

from dataclasses import replace

import pytest
from build import Builder, ns
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.checkers.route import Route
from harness.history import Stall
from harness.history_io import History
from harness.verdict import Verdict

PASS, FAIL, UNKNOWN = Verdict.PASS, Verdict.FAIL, Verdict.UNKNOWN
HOME = Route(requirement="M3", probe="users", phase="x", to=("lb-us",), answered_by=("api-us",))


def history(answers, lookups, end=10.0):
    """An answer each 0.1 s by the nodes in turn, and lookups at their times."""
    b = Builder().phase(0, "before").phase(2, "x").phase(8, "after")
    b.probe("users", interval=0.1, budget=0.05)
    for n in range(round(end * 10)):
        b.request("users", n * 0.1, node=answers(n * 0.1))
    for t, *nodes in lookups:
        b.resolved(t, *nodes)
    return b.history(end)


NODES = st.sampled_from([("lb-us",), ("lb-eu",), ("lb-us", "lb-eu"), ("lb-us", "lb-us"), (), ("",)])


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 99), NODES), max_size=8, unique_by=lambda e: e[0]),
    st.sets(st.integers(0, 99)),
    st.integers(0, 3),
)
def test_against_counting(learnt, strays, settle):
    start, end = 2.0 + settle, 8.0
    lookups = sorted((t / 10 + 0.05, *nodes) for t, nodes in learnt)
    checker = replace(HOME, settle=float(settle))
    (finding,) = checker(
        history(lambda t: "api-eu" if round(t * 10) in strays else "api-us", lookups)
    )
    used = [e for e in lookups if start <= e[0] < end]
    used = [*[e for e in lookups if e[0] < start][-1:], *used]
    led = sum(set(e[1:]) != {"lb-us"} for e in used)
    answered = sum(start * 10 <= n < end * 10 for n in strays)
    assert finding.value == led + answered
    assert finding.figures["lookups"] == len(used)
    assert finding.verdict is (UNKNOWN if not used else FAIL if led + answered else PASS)


def test_each_part_for_itself():
    home, away = [(1.0, "lb-us")], [(1.0, "lb-eu")]
    assert HOME(history(lambda _: "api-us", home))[0].verdict is PASS
    assert HOME(history(lambda _: "api-us", away))[0].verdict is FAIL
    assert HOME(history(lambda _: "api-eu", home))[0].verdict is FAIL
    assert HOME(history(lambda _: "", home))[0].verdict is FAIL
    only_led = replace(HOME, answered_by=())
    assert only_led(history(lambda _: "api-eu", home))[0].verdict is PASS


def test_nothing_answered_shows_nothing():
    b = Builder().phase(0, "x").probe("users", interval=0.1, budget=0.05).resolved(0.01, "lb-us")
    for n in range(100):
        b.request("users", n * 0.1, outcome="fail", error="CONNECTION_REFUSED")
    (finding,) = HOME(b.history(10.0))
    assert finding.verdict is UNKNOWN
    assert "answered 0 times" in finding.reason


@pytest.mark.parametrize(
    ("ended", "lasted", "verdict"),
    [
        (4.0, 0.4, UNKNOWN),
        (4.0, 0.2, FAIL),
        (1.0, 0.4, UNKNOWN),  # its effect may still be seen
        (8.1, 0.4, UNKNOWN),  # it began before the end
        (9.0, 0.4, FAIL),
    ],
)
def test_what_a_machine_that_stands_still_explains(ended, lasted, verdict):
    whole = history(lambda t: "api-eu" if 5 < t < 5.2 else "api-us", [(1.0, "lb-us")])
    stall = Stall(t=ns(ended), lasted=ns(lasted))
    assert HOME(History(whole.header, [*whole.events, stall]))[0].verdict is verdict
    fine = history(lambda _: "api-us", [(1.0, "lb-us")])
    assert HOME(History(fine.header, [*fine.events, stall]))[0].verdict is PASS


def test_too_few_answers_show_nothing():
    b = Builder().phase(0, "x").probe("users", interval=1.0, budget=0.05).resolved(0.01, "lb-us")
    for n in range(10):
        b.request("users", n * 1.0, node="api-us", outcome="ok" if n < 5 else "fail")
    assert HOME(b.history(10.0))[0].verdict is PASS
    assert replace(HOME, at_least=6)(b.history(10.0))[0].verdict is UNKNOWN


def test_what_is_known_is_used_beyond_its_ttl_or_nothing_is_shown():
    def course(*, stale):
        b = Builder().phase(0, "x").probe("users", interval=0.1, budget=0.05)
        b.resolved(0.01, "lb-us").resolved(
            3.0, "lb-us", error="TIMEOUT" if stale else "", stale=stale
        )
        for n in range(100):
            b.request("users", n * 0.1, node="api-us")
        return b.history(10.0)

    asked = replace(HOME, stale=True)
    assert asked(course(stale=True))[0].verdict is PASS
    (found,) = asked(course(stale=False))
    assert (found.verdict, found.reason) == (UNKNOWN, "users used nothing beyond its TTL")


def test_no_such_phase():
    assert replace(HOME, phase="y")(history(lambda _: "api-us", []))[0].verdict is UNKNOWN
    with pytest.raises(ValueError, match="at least one"):
        replace(HOME, to=())
