from __future__ import annotations

import math

import pytest

from reports import numbers


@pytest.mark.parametrize(
    ("value", "error", "unit", "text"),
    [
        (0.1042, 0.006, "s", "0.104 s ± 0.006 s"),
        (0.1042, 0.0051, "s", "0.104 s ± 0.006 s"),  # an error is rounded up
        (0.1042, 0.0112, "s", "0.104 s ± 0.012 s"),
        (272.0, 12.0, "s", "272 s ± 12 s"),
        (1234.5, 300, "ms", "1,200 ms ± 300 ms"),
        (0, 0.02, "s", "0 s ± 0.02 s"),
        (0, None, "s", "0"),
        (0.0, 0.0, "s", "0"),
        (0, None, "writes", "0 writes"),
        (3, None, "writes", "3 writes"),
        (None, 0.1, "s", "—"),
        (math.inf, 0.1, "s", "never"),
        (0.98765, None, "ratio", "0.988"),
    ],
)
def test_measured(value, error, unit, text):
    assert numbers.measured(value, error, unit) == text


@pytest.mark.parametrize("error", [0.0011, 0.0019, 0.002, 0.0099, 0.5, 0.95, 1, 9.7, 13, 99, 101])
def test_shown_error_is_never_smaller_than_the_error(error):
    shown = float(numbers.measured(5.0, error, "").split("± ")[1])
    assert error <= shown <= error * 1.5


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.1, "0.1"), (0.10449, "0.104"), (12.345, "12.3"), (50_000, "50,000"), (4210.4, "4,210"),
     (-3.25, "-3.25"), (2e-9, "2.00e-09"), (math.nan, "nan")],
)  # fmt: skip
def test_plain(value, text):
    assert numbers.plain(value) == text


def test_compared():
    assert numbers.compared("<=", 60.0, "s") == "≤ 60 s"
    assert numbers.compared("==", 0, "writes") == "= 0 writes"
    assert numbers.compared("<=", None, "s") == ""


def test_a_single_error_among_many_never_shows_as_none():
    assert numbers.percent(0, 10) == "0 %"
    assert numbers.percent(1, 1_000_000) == "0.0001 %"
    assert numbers.percent(1, 3) == "33 %"


@pytest.mark.parametrize(
    ("seconds", "text"), [(9.04, "9 s"), (48.24, "48.2 s"), (60, "1 min"), (200, "3 min 20 s"), (3840, "1 h 4 min")]
)  # fmt: skip
def test_duration(seconds, text):
    assert numbers.duration(seconds) == text


def test_wall_time():
    assert numbers.wall_time(1_764_000_000.7) == "2025-11-24 16:00:00 UTC"
    assert numbers.wall_time(0) == "—"
