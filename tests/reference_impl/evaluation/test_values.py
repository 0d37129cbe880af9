"""JsonLogic's values where flagd-core departs from JsonLogic, so that agreement cannot show them; and numbers as text."""

from __future__ import annotations

import math

import pytest

from reference_impl.evaluation.compiler import RuleCompiler


def value_of(logic, data=None):
    return RuleCompiler("flag", {}).compile(logic)({} if data is None else data)


@pytest.mark.parametrize(
    ("logic", "expected"),
    [
        # booleans as text
        ({"cat": [True, "-", False]}, "true-false"),
        ({"in": [True, "it is true"]}, True),
        ({"substr": [True, 0, 2]}, "tr"),
        # strict means strict
        ({"===": [True, 1]}, False),
        ({"!==": [False, 0]}, True),
        ({"===": [1, 1.0]}, True),
        ({"in": [True, [1]]}, False),
        ({"in": [1, [1.0]]}, True),
        ({"in": ["1", ["1", "2"]]}, True),
        ({"in": [1, ["1", "2"]]}, False),
        # null is nothing but null
        ({"==": [None, 0]}, False),
        ({"==": [{"var": "age"}, 0]}, False),
        ({"==": [None, None]}, True),
        # the dividend's sign
        ({"%": [-7, 3]}, -1),
        ({"%": [7, -3]}, 1),
        ({"%": [-7.5, 2]}, -1.5),
        ({"%": [7, 1e999]}, 7),
        # numbers as paths
        ({"var": [1]}, "one"),
        ({"var": 2.0}, "two"),
        # numbers as text
        ({"cat": [1234567.891234567, "/", 0.1, "/", 2.0, "/", 10]}, "1234567.89123457/0.1/2/10"),
    ],
)
def test_values(logic, expected):
    found = value_of(logic, {"1": "one", "2": "two"})
    assert found == expected
    assert type(found) is type(expected) or not isinstance(expected, bool)


def test_infinity_has_no_remainder():
    assert math.isnan(value_of({"%": [1e999, 2]}))


def test_division_by_zero_fails():
    for logic in ({"/": [1, 0]}, {"%": [1, 0]}, {"%": [1.5, 0]}):
        with pytest.raises(ZeroDivisionError):
            value_of(logic)
