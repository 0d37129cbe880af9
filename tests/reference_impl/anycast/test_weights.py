"""The draw of connections by weights."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from reference_impl.anycast.weights import Weights

NAMES = ["a", "b", "c"]
MANY = 4000


def flows(n=MANY):
    return [f"198.51.100.{port % 200}:{20_000 + port}" for port in range(n)]


def firsts(weights, now=0.0):
    return [weights.order(flow, NAMES, now)[0] for flow in flows()]


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 1), st.floats(0, 1))
def test_each_keeps_its_share_of_what_comes_to_it(one, two):
    weights = Weights()
    weights.replace({"a": one, "b": two}, until=1.0)
    first = firsts(weights)
    for name, share in (("a", one), ("b", (1 - one) * two)):
        spread = 5 * math.sqrt(share * (1 - share) * MANY) + 2
        assert abs(first.count(name) - share * MANY) <= spread


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_weight_that_rises_moves_none_but_those_that_come(one, two):
    low, high = sorted((one, two))
    before, after = Weights(), Weights()
    before.replace({"a": low}, until=1.0)
    after.replace({"a": high}, until=1.0)
    for flow in flows(200):
        was, now = before.order(flow, NAMES, 0.0), after.order(flow, NAMES, 0.0)
        assert was == now or now[0] == "a"


@given(st.dictionaries(st.sampled_from(NAMES), st.floats(0, 1)))
def test_an_order_has_every_pop_once_and_is_always_the_same(given_weights):
    weights = Weights()
    weights.replace(given_weights, until=1.0)
    for flow in flows(20):
        order = weights.order(flow, NAMES, 0.0)
        assert sorted(order) == NAMES
        assert order == weights.order(flow, NAMES, 0.5)


def test_without_weights_and_after_their_time_the_nearest_is_first():
    weights = Weights()
    assert set(firsts(weights)) == {"a"}
    weights.replace({"a": 0.0}, until=1.0)
    assert set(firsts(weights)) == {"b"}
    assert set(firsts(weights, now=1.0)) == {"a"}
    weights.replace({"a": 0.0, "b": 0.0, "c": 0.0}, until=1.0)
    assert set(firsts(weights)) == {"a"}
    weights.replace({}, until=1.0)
    assert weights.at(0.0) == {}
