"""Segments come back as they were written, or not at all."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference_impl.archive.segments import (
    Span,
    decode,
    encode,
    folder_of,
    grouped,
    key_of,
    span_of,
)
from reference_impl.propagation.types import Change
from reference_impl.resilience.errors import INVALID, CallError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(), st.lists, max_leaves=5
)
CHANGES = st.lists(
    st.builds(
        Change,
        seq=st.integers(1, 10**15),
        org=st.text(min_size=1),
        version=st.integers(1, 10**9),
        key=st.text(min_size=1),
        flag=st.none() | st.dictionaries(st.text(), VALUES, max_size=3),
        at=st.integers(0, 10**18),
    ),
    min_size=1,
    max_size=10,
)


@given(CHANGES)
@settings(deadline=None)
def test_a_segment_comes_back(changes):
    assert decode(encode(changes), "x") == changes


@given(CHANGES, st.data())
@settings(deadline=None)
def test_a_damaged_segment_is_refused(changes, data):
    body = bytearray(encode(changes))
    at = data.draw(st.integers(0, len(body) - 1))
    body[at] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(CallError) as caught:
        decode(bytes(body), "x")
    assert caught.value.kind == INVALID


@given(CHANGES)
@settings(deadline=None)
def test_a_key_says_which_versions_there_are(changes):
    for own in grouped(sorted(changes, key=lambda change: change.seq)):
        key = key_of(own)
        assert span_of(key) == Span(key, own[0].seq, own[-1].seq)
        assert key.startswith(folder_of(own[0].org, own[0].key))
        assert {(change.org, change.key) for change in own} == {(own[0].org, own[0].key)}


@given(st.tuples(st.text(), st.text()), st.tuples(st.text(), st.text()))
@settings(deadline=None)
def test_no_flag_is_in_the_folder_of_another(one, two):
    assert folder_of(*one).startswith(folder_of(*two)) is (one == two)


def test_keys_sort_as_positions_do():
    keys = [key_of([Change(seq, "o", 1, "k", None, 0)]) for seq in (9, 10, 10**12)]
    assert keys == sorted(keys)


@pytest.mark.parametrize("key", ["versions/o/k/readme.txt", "x", "versions/o/k/1-.jsonl", "a-b"])
def test_what_is_no_segment_is_said(key):
    with pytest.raises(CallError, match="no segment"):
        span_of(key)
