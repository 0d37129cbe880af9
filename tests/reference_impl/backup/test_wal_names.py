import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_impl.backup.wal_names import (
    is_history,
    is_partial,
    is_segment,
    lsn_text,
    next_number,
    parse_lsn,
    segment_start,
    timeline_of,
)


def test_names_are_told_apart():
    name = "0000000A00000001000000FF"
    assert is_segment(name)
    assert not is_partial(name)
    assert is_partial(f"{name}.partial")
    assert not is_segment(f"{name}.partial")
    assert is_history("00000002.history")
    assert not is_segment("archive_status")
    assert timeline_of(name) == 10


@given(st.integers(0, (1 << 63) - 1))
def test_an_lsn_is_read_as_it_is_written(position):
    assert parse_lsn(lsn_text(position)) == position


def test_what_is_no_lsn_is_refused():
    with pytest.raises(ValueError, match="no LSN"):
        parse_lsn("16")


@given(st.integers(0, 100_000), st.sampled_from([1 << 20, 1 << 22, 1 << 24, 1 << 30]))
def test_the_next_segment_begins_where_one_ends(n, size):
    per_log = (1 << 32) // size
    number = f"{n // per_log:08X}{n % per_log:08X}"
    start = segment_start("00000001" + number, size)
    assert start == n * size
    assert segment_start("00000001" + next_number(number, size), size) == start + size
