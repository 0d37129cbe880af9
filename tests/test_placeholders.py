from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.placeholders import filled, nodes_named

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def test_each_placeholder_becomes_its_nodes_address():
    value = {"a": [{"address_of": "x"}, {"address_of": "y", "ttl": 1}], "b": {"address_of": "y"}}
    assert list(nodes_named(value)) == ["x", "y"]
    before = copy.deepcopy(value)
    assert filled(value, {"x": "127.0.0.1", "y": "127.0.0.2"}.__getitem__) == {
        "a": ["127.0.0.1", {"address_of": "y", "ttl": 1}],
        "b": "127.0.0.2",
    }
    assert value == before
    with pytest.raises(KeyError):
        filled(value, {}.__getitem__)


@given(PLAIN)
def test_what_has_none_stays_as_it_is(value):
    if not list(nodes_named(value)):
        assert filled(value, pytest.fail) == value
