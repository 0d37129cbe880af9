"""Hot at the threshold, cool only well below it and for long enough."""

from hypothesis import given
from hypothesis import strategies as st

from reference_impl.pop.popularity.detector import Detector, HotSettings

FLAG = ("acme", "popular")
SETTINGS = HotSettings(threshold=100, cool=0.5, hold=3)


def judged(rates):
    """What a detector says of one flag's rates, a window each second: (heated, cooled, hot after it)."""
    detector = Detector(SETTINGS)
    found = []
    for now, rate in enumerate(rates):
        heated, cooled = detector.judge(float(now), {FLAG: rate})
        found.append((bool(heated), bool(cooled), FLAG in detector.hot))
    return found


def test_hot_at_the_threshold_and_told_once():
    found = judged([99, 100, 500, 100])
    assert [heated for heated, *_ in found] == [False, True, False, False]
    assert [hot for *_, hot in found] == [False, True, True, True]


def test_between_the_thresholds_it_stays_as_it_is():
    assert not any(hot for *_, hot in judged([60, 99, 60]))
    assert all(hot for *_, hot in judged([100, *[60] * 20]))


def test_it_cools_after_the_hold_and_may_be_hot_again():
    found = judged([100, 0, 0, 0, 0, 100])
    assert [cooled for _, cooled, _ in found] == [False, False, False, True, False, False]
    assert [heated for heated, *_ in found] == [True, False, False, False, False, True]


def test_one_busy_window_begins_the_hold_anew():
    assert [hot for *_, hot in judged([100, 0, 0, 50, 0, 0, 0])] == [True] * 6 + [False]


def test_a_flag_that_nobody_asks_for_any_more_cools():
    detector = Detector(SETTINGS)
    detector.judge(0.0, {FLAG: 200.0})
    assert detector.judge(3.0, {}) == ([], [FLAG])


@given(st.lists(st.integers(0, 200), max_size=40))
def test_as_the_definition_says(rates):
    hot, high = False, -1
    for now, (rate, (heated, cooled, is_hot)) in enumerate(zip(rates, judged(rates), strict=True)):
        assert heated == (not hot and rate >= 100)
        hot = hot or heated
        high = now if rate >= 50 else high
        assert cooled == (hot and now - high >= 3)
        hot = hot and not cooled
        assert is_hot == hot
