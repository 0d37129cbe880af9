"""The scaling policy at the specification's figures, beside a model that looks at everything anew each time."""

from fractions import Fraction
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_impl.pop.autoscale import MOST, Autoscaler, AutoscaleSettings

TRUE = AutoscaleSettings()
TARGET = 50_000
# Seconds since the look before, and requests/s in them.
SERIES = st.lists(st.tuples(st.integers(1, 40), st.integers(0, 400_000)), max_size=60)
WORKERS = st.integers(1, 16)


def run(series, workers, policy=TRUE):
    """The steps, and what there was at each look: when, and how many requests until then."""
    scaler = Autoscaler(policy, workers)
    now = count = 0
    looks, steps = [], []
    for seconds, rate in series:
        now, count = now + seconds, count + seconds * rate
        looks.append((now, count))
        if step := scaler.observe(float(now), count):
            steps.append(step)
    return looks, steps, scaler


def model(looks, workers):
    """(when, from, to) by the words of the specification, in whole numbers."""
    made = []
    for n, (now, count) in enumerate(looks):
        before = [look for look in looks[: n + 1] if look[0] <= now - 10]
        if not before or (made and now - made[-1][0] < 60):
            continue
        since, then = before[-1]
        each = Fraction(count - then, (now - since) * workers)
        if each >= Fraction(8, 10) * TARGET and workers < 16:
            made.append((now, workers, workers + 1))
        elif each <= Fraction(3, 10) * TARGET and workers > 1:
            made.append((now, workers, workers - 1))
        else:
            continue
        workers = made[-1][2]
    return made


@given(SERIES, WORKERS)
def test_as_the_model(series, workers):
    looks, steps, scaler = run(series, workers)
    assert [(step.at, step.before, step.after) for step in steps] == model(looks, workers)
    assert [step.n for step in steps] == list(range(1, len(steps) + 1))
    assert 1 <= scaler.workers <= 16


@given(SERIES, WORKERS)
def test_never_two_steps_within_a_cooldown(series, workers):
    _, steps, _ = run(series, workers)
    assert all(later.at - earlier.at >= 60 for earlier, later in pairwise(steps))


@given(st.integers(1, 1000), st.integers(0, 100_000_000))
def test_a_step_never_makes_the_opposite_one_due_at_the_same_load(workers, total):
    up, down = 0.8 * TARGET, 0.3 * TARGET
    if total / workers >= up:
        assert total / (workers + 1) > down
    if workers > 1 and total / workers <= down:
        assert total / (workers - 1) < up


@given(st.integers(0, 1_000_000), WORKERS)
def test_at_a_steady_load_it_goes_one_way_and_comes_to_rest(rate, workers):
    _, steps, scaler = run([(5, rate)] * 300, workers)
    assert len({step.after - step.before for step in steps}) <= 1
    assert rate / scaler.workers < 0.8 * TARGET or scaler.workers == 16
    assert rate / scaler.workers > 0.3 * TARGET or scaler.workers == 1


@pytest.mark.parametrize(
    ("rate", "workers", "after"),
    [
        (40_000, 1, 2),
        (39_999, 1, 1),
        (30_000, 2, 1),
        (30_001, 2, 2),
        (80_000, 2, 3),
        (15_000, 1, 1),
    ],
)
def test_the_edges_of_the_thresholds(rate, workers, after):
    assert run([(5, rate)] * 4, workers)[2].workers == after


def test_nothing_is_decided_before_a_whole_window_was_seen():
    _, steps, _ = run([(1, 400_000)] * 10, 1)
    assert steps == []
    _, steps, _ = run([(1, 400_000)] * 11, 1)
    assert [step.at for step in steps] == [11]


def test_a_boost_is_at_once_waits_for_no_cooldown_and_begins_one():
    _, steps, scaler = run([(1, 45_000)] * 11, 1)
    assert len(steps) == 1
    boost = scaler.boost(12.0, 5)
    assert (boost.before, boost.after, boost.reason, boost.n) == (2, 7, "hot spot", 2)
    assert scaler.observe(71.0, 100_000_000) is None
    assert scaler.observe(72.0, 100_000_000).after == 8
    assert scaler.boost(73.0, 100).after == 16
    assert scaler.boost(74.0, 5) is None


@pytest.mark.parametrize(
    "wrong", [{"up": 0.6}, {"down": 0.4}, {"minimum": 17}, {"maximum": MOST + 1}, {"cooldown": 0}]
)
def test_settings_that_would_flap_or_make_no_sense_are_refused(wrong):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(wrong, AutoscaleSettings)


def test_repr_tells_the_state():
    assert repr(Autoscaler(TRUE, 3)) == "<Autoscaler 3 workers, 0 of 50000/s each>"
