"""Workers that come and go: steps that load calls for and others, cooldowns, and who answers."""

from dataclasses import replace

import pytest
from build import Builder
from hypothesis import given, settings
from hypothesis import strategies as st
from sound import LOAD, SOUND, STEPS, scaled

from harness.verdict import Verdict

PASS, FAIL, UNKNOWN = Verdict.PASS, Verdict.FAIL, Verdict.UNKNOWN
CHECK = SOUND["autoscaling"]()[0]
CLAIMS = ("cooldown", "called for", "due", "newcomers", "gone")


def verdicts(b, checker=CHECK, end=20.0):
    found = checker(b.history(end))
    return dict(zip(CLAIMS, [f.verdict for f in found], strict=len(found) > 1))


def other_than_pass(b, **more):
    return {claim: v for claim, v in verdicts(b, **more).items() if v is not PASS}


def test_sound():
    assert other_than_pass(scaled(Builder())) == {}


def test_two_steps_within_a_cooldown():
    steps = (STEPS[0], (7.0, 2, 3), *STEPS[2:])
    assert other_than_pass(scaled(Builder(), steps)) == {"cooldown": FAIL}


def test_a_step_that_no_load_calls_for():
    steps = ((2.0, 1, 2), (6.1, 2, 3), *STEPS[2:])
    assert other_than_pass(scaled(Builder(), steps)) == {"called for": FAIL}


def test_two_workers_in_one_step():
    steps = ((3.9, 1, 3), *STEPS[2:])
    assert other_than_pass(scaled(Builder(), steps)) == {"called for": FAIL}


@pytest.mark.parametrize("kept", [0, 1, 3])
def test_a_step_that_does_not_come(kept):
    assert verdicts(scaled(Builder(), STEPS[:kept]))["due"] is FAIL


def test_a_step_that_comes_late():
    steps = ((5.5, 1, 2), (9.5, 2, 3), (13.5, 3, 2), (17.5, 2, 1))
    assert other_than_pass(scaled(Builder(), steps)) == {"due": FAIL}


def test_no_step_is_due_at_the_most_and_at_the_least():
    checker = replace(CHECK, maximum=2)
    steps = ((3.9, 1, 2), (12.0, 2, 1))
    assert other_than_pass(scaled(Builder(), steps), checker=checker) == {}


def test_a_new_worker_that_nobody_is_sent_to():
    assert other_than_pass(scaled(Builder(), late=60)) == {"newcomers": FAIL}


def test_a_new_worker_that_nobody_needed_shows_nothing():
    load = LOAD[:4] + (1,) * 16
    assert verdicts(scaled(Builder(), STEPS[:1], load, late=60))["newcomers"] is UNKNOWN


def test_a_worker_that_does_not_leave():
    b = scaled(Builder())
    b.request("users", 18.0, node="pop-1", metadata={"worker": 1})
    assert other_than_pass(b) == {"gone": FAIL}
    b = scaled(Builder())
    b.request("users", 18.0, node="pop-2", metadata={"worker": 1})
    assert other_than_pass(b) == {}


def test_a_worker_may_still_answer_for_a_moment():
    b = scaled(Builder())
    b.request("users", 16.5, node="pop-1", metadata={"worker": 1})
    assert other_than_pass(b) == {}


def test_where_nothing_calls_for_a_step_nothing_is_shown():
    found = verdicts(scaled(Builder(), (), (50,) * 20))
    assert {*found.values()} == {PASS, UNKNOWN}
    assert found["due"] is found["cooldown"] is found["newcomers"] is UNKNOWN


def hot(b, at):
    """The same history, but that the step at `at` was for a hot spot."""
    for event in b.events:
        for step in getattr(event, "data", {}).get("scaling", {}).get("steps", ()):
            if step["at"] == round(at * 1e9):
                step["reason"] = "hot spot"
    return b


def test_a_step_for_a_hot_spot_waits_for_no_cooldown_and_begins_one():
    steps = ((3.9, 1, 2), (4.5, 2, 3), *STEPS[2:])
    assert other_than_pass(scaled(Builder(), steps)) == {"cooldown": FAIL}
    assert other_than_pass(hot(scaled(Builder(), steps), 4.5)) == {}
    steps = ((3.9, 1, 2), (7.9, 2, 3), (10.0, 3, 4), (12.0, 4, 3))
    assert verdicts(hot(scaled(Builder(), steps), 10.0))["cooldown"] is FAIL


def test_a_node_that_does_not_tell_or_was_restarted_shows_nothing():
    b = scaled(Builder())
    b.status(19.9, "pop-1", boot="another", data={"scaling": {"workers": 1, "steps": []}})
    assert [f.verdict for f in CHECK(b.history(20.0))] == [UNKNOWN]
    b = scaled(Builder()).status(19.9, "pop-1", data={})
    assert [f.verdict for f in CHECK(b.history(20.0))] == [UNKNOWN]


def called_for(load, most=3):
    """The steps of a platform that keeps the policy and looks each 100 ms; all counted anew each time."""
    sent = [second + n / rate for second, rate in enumerate(load) for n in range(rate)]
    made, workers = [], 1
    for tenth in range(10, len(load) * 10):
        now = tenth / 10
        if made and now - made[-1][0] < 4:
            continue
        each = sum(now - 1 < t <= now for t in sent) / workers
        change = (each >= 80 and workers < most) - (each <= 30 and workers > 1)
        if change:
            made.append((now, workers, workers + change))
            workers += change
    return tuple(made)


LOADS = st.lists(st.integers(20, 300), min_size=12, max_size=20)


@settings(max_examples=25, deadline=None)
@given(LOADS)
def test_a_platform_that_keeps_the_policy_never_fails(load):
    steps = called_for(load)
    found = verdicts(scaled(Builder(), steps, load), end=float(len(load)))
    assert FAIL not in found.values()
    assert not steps or found["called for"] is PASS


@settings(max_examples=20, deadline=None)
@given(LOADS.filter(lambda load: len(called_for(load)) > 1), st.data())
def test_one_that_does_not_wait_always_fails(load, data):
    steps = list(called_for(load))
    n = data.draw(st.integers(1, len(steps) - 1))
    (earlier, _, _), (_, before, after) = steps[n - 1], steps[n]
    steps[n] = (earlier + data.draw(st.floats(0.1, 3.9)), before, after)
    assert verdicts(scaled(Builder(), steps, load), end=float(len(load)))["cooldown"] is FAIL


@pytest.mark.parametrize(("lasted", "verdict"), [(0.0, FAIL), (0.05, FAIL), (0.6, UNKNOWN)])
def test_a_step_too_many_of_a_platform_that_was_held_up_shows_nothing(lasted, verdict):
    """180/s on three workers are 60 each: what came in 0.6 s at once makes 96."""
    b = scaled(Builder(), (*STEPS[:2], (12.0, 3, 4)), (50,) * 3 + (180,) * 17)
    if lasted:
        b.stall(11.9, lasted)
    found = verdicts(b, checker=replace(CHECK, maximum=5))
    assert found["called for"] is verdict
