"""Shedding: no more than is allowed, no less, and with the right words."""

from dataclasses import replace

import pytest
from build import Builder
from sound import SOUND

from harness.checkers.shedding import Shedding
from harness.verdict import Verdict

PASS, FAIL, UNKNOWN = Verdict.PASS, Verdict.FAIL, Verdict.UNKNOWN
REFUSED = {"outcome": "fail", "status": 429, "retry_after": "1"}


def flood(rate=100, served=20, seconds=10, **refusal):
    """So many a second, of which the first `served` of each second are served."""
    b = Builder().phase(0, "x").probe("users", interval=1 / rate, budget=0.05)
    for n in range(rate * seconds):
        b.request("users", n / rate, **({} if n % rate < served else REFUSED | refusal))
    return b.history(seconds)


def judged(history, at_most=25.0, at_least=5.0):
    checker = Shedding(requirement="P4", probe="users", at_most=at_most, at_least=at_least)
    return [finding.verdict for finding in checker(history)]


@pytest.mark.parametrize(
    ("served", "verdict"), [(20, PASS), (24, PASS), (30, FAIL), (5, PASS), (2, FAIL), (0, FAIL)]
)
def test_so_many_are_served(served, verdict):
    assert judged(flood(served=served)) == [verdict, PASS]


def test_none_at_all():
    assert judged(flood(served=0), 0.0, 0.0) == [PASS, PASS]
    assert judged(flood(served=1), 0.0, 0.0) == [FAIL, PASS]


@pytest.mark.parametrize(
    "refusal",
    [
        {"retry_after": ""},
        {"retry_after": "0"},
        {"retry_after": "soon"},
        {"status": 503},
        {"status": 0, "error": "TIMEOUT"},
        {"outcome": "unknown", "status": 0},
    ],
    ids=str,
)
def test_a_refusal_that_is_none(refusal):
    assert judged(flood(**refusal)) == [PASS, FAIL]


def test_who_asks_for_little_shows_nothing():
    assert judged(flood(rate=24, served=20)) == [UNKNOWN, UNKNOWN]


def test_each_phase_is_looked_at():
    checker, b = SOUND["shedding"]()
    b.phase(9, "x")
    assert len(checker(b.history(10))) == 4
    assert [f.verdict for f in replace(checker, phase="y")(b.history(10))] == [UNKNOWN]


def test_bounds_that_can_t_be():
    with pytest.raises(ValueError, match="at_least"):
        Shedding(requirement="P4", probe="users", at_most=1, at_least=2)
