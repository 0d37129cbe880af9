"""Counters that a node tells of itself: their growth, against a count of every pair of statuses."""

from dataclasses import replace

import pytest
from build import Builder
from hypothesis import given, settings
from hypothesis import strategies as st
from sound import SOUND, cached

from harness.checkers.counters import CounterRate, CounterShare
from harness.history import Status
from harness.verdict import Verdict

PASS, FAIL, UNKNOWN = Verdict.PASS, Verdict.FAIL, Verdict.UNKNOWN
RATE, _ = SOUND["counter_rate"]()
SHARE, _ = SOUND["counter_share"]()


def judged(checker, b):
    (finding,) = checker(b.history(10))
    return finding


def test_a_steady_growth_is_measured():
    finding = judged(RATE, cached(Builder()))
    assert finding.verdict is PASS
    assert finding.value == pytest.approx(4, abs=1.1)


def test_a_stampede_of_a_second_is_seen_wherever_it_comes():
    burst = judged(RATE, cached(Builder(), reads=lambda t: 40 * min(max(t - 6, 0), 1)))
    assert burst.verdict is FAIL
    assert burst.value == pytest.approx(40, abs=1)


def test_a_server_that_was_asked_little_shows_nothing():
    finding = judged(replace(RATE, at_most=30), cached(Builder()))
    assert finding.verdict is UNKNOWN
    assert "tells nothing" in finding.reason


def test_answers_that_failed_are_no_demand():
    b = Builder().phase(0, "x").probe("users", interval=0.02, budget=0.05)
    for n in range(500):
        b.request("users", n * 0.02, outcome="fail", error="TIMEOUT")
    for n in range(100):
        b.status(n * 0.1, "api-1", data={"cache": {"reads": 0}})
    assert judged(RATE, b).verdict is UNKNOWN


@pytest.mark.parametrize("checker", [RATE, SHARE])
def test_counters_of_two_lives_tell_nothing(checker):
    b = cached(Builder(), end=5.0)
    for n in range(50, 100):
        counted = {"reads": 0, "hits": 0, "misses": 0}
        b.status(n * 0.1 + 0.05, "api-1", boot="b2", data={"cache": counted})
    finding = judged(checker, b)
    assert finding.verdict is UNKNOWN
    assert "started anew" in finding.reason


@pytest.mark.parametrize("checker", [RATE, SHARE])
def test_a_node_that_falls_silent_tells_nothing(checker):
    finding = judged(checker, cached(Builder(), end=3.0))
    assert finding.verdict is UNKNOWN
    assert "nothing of itself" in finding.reason


@pytest.mark.parametrize("checker", [RATE, SHARE])
def test_a_field_that_is_not_there_is_not_zero(checker):
    finding = judged(replace(checker, field="cache.nothing"), cached(Builder()))
    assert finding.verdict is UNKNOWN
    assert "cache.nothing" in finding.reason


def test_a_share():
    finding = judged(SHARE, cached(Builder()))
    assert (finding.verdict, finding.value) == (PASS, pytest.approx(0.8, abs=0.01))


def test_too_few_hits_fail():
    finding = judged(replace(SHARE, at_least=0.9), cached(Builder()))
    assert finding.verdict is FAIL


def test_hits_that_nobody_asked_for_need_the_answers_seen_outside():
    """A node that counts a tenth of what it answers could say anything."""
    finding = judged(SHARE, cached(Builder(), hits=lambda t: 4 * t))
    assert finding.verdict is UNKNOWN
    assert "alone got" in finding.reason


@given(st.lists(st.tuples(st.floats(0.05, 0.7), st.integers(0, 30)), min_size=2, max_size=25))
@settings(max_examples=100, deadline=None)
def test_the_rate_is_the_worst_of_all_windows(steps):
    """The model looks at every pair of statuses; the checker walks once."""
    t, count, points = 0.05, 0, []
    b = Builder().phase(0, "x").probe("users", interval=0.02, budget=0.05)
    for n in range(500):
        b.request("users", n * 0.02)
    for gap, growth in steps:
        b.status(t, "api-1", data={"cache": {"reads": count}})
        points.append((t, count))
        t, count = t + gap, count + growth
    history = b.history(20)
    (finding,) = RATE(history)
    times = [s.t / 1e9 for s in history.of(Status)]
    first_after = [
        min((v - u, n, m) for m, v in enumerate(times) if v - u >= 1)
        for n, u in enumerate(times)
        if any(v - u >= 1 for v in times)
    ]
    wanted = [(points[m][1] - points[n][1]) / width for width, n, m in first_after]
    assert finding.value == (pytest.approx(max(wanted)) if wanted else None)


def test_a_phase_that_is_not_there():
    for checker in (CounterRate, CounterShare):
        more = {"at_most": 1} if checker is CounterRate else {"at_least": 1, "among": ("a",)}
        made = checker(requirement="D5", node="n", field="a", probe="p", phase="none", **more)
        assert judged(made, cached(Builder())).verdict is UNKNOWN
