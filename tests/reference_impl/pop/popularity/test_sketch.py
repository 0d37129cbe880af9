"""The sketch against exact counts: bounded, never above the truth, and below it by no more than it says."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_impl.pop.popularity.sketch import Frequent

KEYS = st.lists(st.integers(0, 40) | st.integers(0, 3), max_size=400)


def counted(keys, size):
    sketch = Frequent(size)
    for key in keys:
        sketch.add(key)
        assert len(sketch.counts) <= size
    return sketch


@given(KEYS, st.integers(2, 30))
def test_counts_are_the_truth_but_for_the_error(keys, size):
    sketch = counted(keys, size)
    exact = Counter(keys)
    assert sketch.error <= 2 * len(keys) / size
    for key, count in exact.items():
        assert sketch.counts.get(key, 0) <= count <= sketch.counts.get(key, 0) + sketch.error
    assert sketch.counts.keys() <= exact.keys()


@given(KEYS, st.integers(2, 30), st.integers(1, 50))
def test_none_below_is_named_and_none_above_by_more_than_the_error_is_missed(keys, size, threshold):
    sketch = counted(keys, size)
    named = {key for key, count in sketch.counts.items() if count >= threshold}
    for key, count in Counter(keys).items():
        assert key not in named or count >= threshold
        assert key in named or count < threshold + sketch.error


def test_one_hot_key_among_a_million_others_is_found_in_little_memory():
    sketch = Frequent(64)
    for n in range(1_000_000):
        sketch.add("hot" if n % 10 == 0 else n)
    assert len(sketch.counts) <= 64
    assert 100_000 - sketch.error <= sketch.counts["hot"] <= 100_000
    assert sketch.error <= 2 * 1_000_000 / 64


def test_it_begins_anew():
    sketch = counted("aab", 2)
    found = sketch.counts
    sketch.clear()
    assert (sketch.counts, sketch.error) == ({}, 0)
    assert found == {"a": 2, "b": 1}  # what was taken stays as it was


def test_too_small():
    with pytest.raises(ValueError, match="at least 2"):
        Frequent(1)
