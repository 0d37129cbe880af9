"""Versions that are read again, and what is bounded though more was put in."""

from dataclasses import replace

import pytest
from build import Builder
from sound import SOUND, past, writes

from harness.verdict import Verdict

PASS, FAIL, UNKNOWN = Verdict.PASS, Verdict.FAIL, Verdict.UNKNOWN
VERSIONS, _ = SOUND["versions"]()
BOUNDED, _ = SOUND["bounded"]()


def judged(checker, b):
    (finding,) = checker(b.history(10))
    return finding


def test_all_versions_are_there():
    finding = judged(VERSIONS, past(Builder()))
    assert (finding.verdict, finding.value) == (PASS, 0)
    assert finding.figures == {"acknowledged": 80, "read": 80}


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ({"status": 404, "value": None}, "not there any more"),
        ({"value": 6}, "reads as 6"),
        ({"value": True}, "reads as True"),
        ({"metadata": {"written": "d", "read": "e"}}, "not what was written"),
        ({"metadata": {}}, "not what was written"),
    ],
)
def test_one_that_is_gone_or_another_is_found(told, says):
    finding = judged(VERSIONS, past(Builder(), lambda value: told if value == 7 else {}))
    assert (finding.verdict, finding.value) == (FAIL, 1)
    assert says in finding.evidence[0].text


@pytest.mark.parametrize("told", [None, {"outcome": "unknown", "error": "TIMEOUT"}, {"took": None}])
def test_one_that_was_not_read_is_neither_there_nor_lost(told):
    finding = judged(VERSIONS, past(Builder(), lambda value: told if value == 7 else {}))
    assert finding.verdict is UNKNOWN
    assert "1 versions were not read" in finding.reason


def test_without_an_archive_it_shows_nothing():
    for archived in ((), ("v/a",)):
        finding = judged(VERSIONS, past(Builder(), archived=archived))
        assert finding.verdict is UNKNOWN
        assert "objects below 'v/'" in finding.reason
    assert judged(replace(VERSIONS, node="store-us"), past(Builder())).verdict is UNKNOWN


def test_writes_that_were_never_acknowledged_may_be_anything():
    b = past(Builder())
    b.write("writer", 7.99, 81, outcome="unknown")
    assert judged(VERSIONS, b).verdict is PASS


def hot(rows, end=8.0):
    b = Builder().phase(0, "x")
    writes(b, end=end)
    for n in range(100):
        b.status(n * 0.1, "archiver", data={"hot": rows(n * 0.1)})
    return b


def test_what_grows_beyond_its_bound_is_found():
    finding = judged(BOUNDED, hot(lambda t: 10 * t))
    assert finding.verdict is FAIL
    assert finding.value == pytest.approx(99)


def test_the_margin_is_not_looked_at():
    assert judged(BOUNDED, hot(lambda t: 100 if t < 3.9 else 30)).verdict is PASS
    assert judged(BOUNDED, hot(lambda t: 100 if t < 4.1 else 30)).verdict is FAIL


def test_with_little_put_in_it_shows_nothing():
    finding = judged(BOUNDED, hot(lambda t: 3, end=2.0))
    assert finding.verdict is UNKNOWN
    assert "only 20 writes" in finding.reason


def test_a_field_that_is_not_there_is_not_bounded():
    finding = judged(replace(BOUNDED, field="cold"), hot(lambda t: 3))
    assert finding.verdict is UNKNOWN
