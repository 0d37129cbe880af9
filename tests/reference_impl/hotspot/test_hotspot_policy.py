"""Hot spots: when workers come, how far a weight falls, and that it does not go to and fro."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference_impl.hotspot.policy import Action, HotSpots, HotSpotSettings, Seen, _shed

POLICY = HotSpotSettings()
CALM = Seen(100, 1000)


def looks(spots, seconds, demand, capacity, others=(CALM, CALM), start=0.0):
    """What is done second by second while the PoP "a" has that demand: it gets its weight's share, the first other the rest."""
    done = []
    for second in range(seconds):
        rate = demand * spots.weights.get("a", 1.0)
        seen = {"a": Seen(rate, capacity)}
        for n, one in enumerate(others):
            moved = 0 if n else demand - rate
            seen[f"b{n}"] = Seen(one.rate + moved, one.capacity)
        now = start + second
        done += [(now, action) for action in spots.observe(now, seen)]
    return done


def kinds(done):
    return [(action.pop, action.what) for _, action in done]


def test_more_workers_at_hot_and_again_after_a_while():
    spots = HotSpots(POLICY)
    assert looks(spots, 5, 899, 1000) == []
    done = looks(spots, 90, 900, 1000, start=5.0)
    assert done == [(5.0, Action("a", "workers", 5)), (65.0, Action("a", "workers", 5))]


def test_a_load_that_all_have_alike_is_no_hot_spot():
    same = Seen(2000, 1000)
    assert looks(HotSpots(POLICY), 60, 2000, 1000, others=(same, same)) == []
    assert looks(HotSpots(POLICY), 60, 2000, 1000, others=()) == []


def test_a_critical_load_that_lasts_lowers_the_weight_to_what_the_pop_can_bear():
    spots = HotSpots(POLICY)
    done = looks(spots, 40, 1600, 1000, others=(Seen(100, 5000), Seen(100, 5000)))
    assert kinds(done) == [("a", "workers"), ("a", "weight")]
    assert done[1] == (11.0, Action("a", "weight", 0.5, shed=1.0))


def test_a_moment_is_not_enough():
    spots = HotSpots(POLICY)
    looks(spots, 10, 1600, 1000)
    looks(spots, 1, 950, 1000, start=10.0)
    assert kinds(looks(spots, 10, 1600, 1000, start=11.0)) == []


def test_no_more_is_sent_elsewhere_than_there_is_room_for():
    spots = HotSpots(POLICY)
    looks(spots, 30, 2000, 1000, others=(Seen(700, 1000), Seen(850, 1000)))
    assert spots.weights["a"] == pytest.approx(1 - 50 / 2000, abs=0.01)
    near = HotSpots(HotSpotSettings(nearby={"a": ["b0"]}))
    looks(near, 30, 2000, 1000, others=(Seen(700, 1000), Seen(850, 1000)))
    assert near.weights["a"] == pytest.approx(1 - 200 / 2000, abs=0.01)
    full = HotSpots(POLICY)
    looks(full, 30, 3000, 1000, others=(Seen(950, 1000), Seen(990, 1000)))
    assert full.weights["a"] == 1.0


def test_the_weight_is_one_again_when_all_of_the_load_is_well_within_bounds():
    spots = HotSpots(POLICY)
    looks(spots, 20, 1600, 1000, others=(Seen(100, 5000), Seen(100, 5000)))
    assert looks(spots, 60, 700, 1000, start=100.0) == []
    assert spots.weights["a"] == 0.5
    assert looks(spots, 60, 600, 1000, start=200.0) == [(200.0, Action("a", "weight", 1.0))]


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(10, 3000), st.lists(st.integers(0, 1700), max_size=3))
def test_at_a_steady_demand_a_weight_only_falls_and_comes_to_rest(demand, capacity, others):
    spots = HotSpots(POLICY)
    done = looks(spots, 150, demand, capacity, [Seen(rate, 2000) for rate in others])
    weights = [action for _, action in done if action.what == "weight"]
    assert all(action.pop == "a" and 0.1 <= action.value < 1 for action in weights)
    values = [action.value for action in weights]
    assert values == sorted(values, reverse=True)
    if others:
        assert others[0] + demand * (1 - spots.weights["a"]) <= 0.9 * 2000 + 1e-6


@pytest.mark.parametrize("wrong", [{"back": 0.9}, {"aim": 1.0}, {"more": 0}, {"least": 0}])
def test_settings_that_would_swing_are_refused(wrong):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(wrong, HotSpotSettings)


@given(st.floats(0.01, 1), st.floats(0.01, 0.99))
def test_of_the_kept_connections_the_weights_share_stays(before, after):
    shed = _shed(before, after)
    assert 0 <= shed <= 1 + 1e-9
    assert (1 - shed) + shed * after == pytest.approx(min(1, after / before))
