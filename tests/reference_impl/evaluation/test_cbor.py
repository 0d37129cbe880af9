"""Our canonical CBOR is cbor2's."""

from __future__ import annotations

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openfeature.contrib.tools.flagd.core.targeting.custom_ops import normalize_numbers

from reference_impl.evaluation import cbor

numbers = (
    st.integers(-(2**70), 2**70)
    | st.floats()
    | st.sampled_from([0.0, -0.0, 0.5, 65504.0, 65505.5, 2.0**63, 2.0**64, 1e300, 5e-324])
)
values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(),
    lambda inner: st.lists(inner, max_size=30) | st.dictionaries(st.text(), inner, max_size=30),
    max_leaves=40,
)


@given(values)
def test_is_the_canonical_form_of_normalised_values(value):
    assert cbor.encode(value) == cbor2.dumps(normalize_numbers(value), canonical=True)


@pytest.mark.parametrize("size", [0, 23, 24, 255, 256, 65535, 65536])
def test_lengths(size):
    assert cbor.encode("x" * size) == cbor2.dumps("x" * size, canonical=True)


def test_refuses_what_is_no_json():
    with pytest.raises(TypeError, match="not a JSON value"):
        cbor.encode(object())
    with pytest.raises(ValueError, match="surrogates"):
        cbor.encode("\ud800")
