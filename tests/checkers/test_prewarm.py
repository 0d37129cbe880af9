"""Prewarm: every PoP, once, and only for the flag that was hot."""

from dataclasses import replace

import msgspec
import pytest
from build import ns
from sound import SOUND

from harness.history import Complete, Status, Stream
from harness.verdict import Verdict

PASS, FAIL, UNKNOWN = Verdict.PASS, Verdict.FAIL, Verdict.UNKNOWN


def judged(change=lambda b: b, **fields):
    """The verdicts on the node, and on the subscriber."""
    checker, b = SOUND["prewarm"]()
    found = replace(checker, **fields)(change(b).history(10.0))
    return [finding.verdict for finding in found]


def said(b, told, after=0.0):
    """The node says something else from then on."""
    kept = [e for e in b.events if not (isinstance(e, Status) and e.t > ns(after))]
    b.events = kept
    for n in range(100):
        if n * 0.1 + 0.05 > after:
            b.status(n * 0.1 + 0.05, data={"prewarmed": told})
    return b


def test_ready_in_time():
    assert judged() == [PASS, PASS]
    assert judged(within=1.0) == [FAIL, PASS]


@pytest.mark.parametrize("told", [{}, {"default/b": 1}, {"default/a": 2}, {"acme/a": 1}], ids=str)
def test_a_node_that_is_not_ready_or_twice_or_for_another_flag(told):
    assert judged(lambda b: said(b, told)) == [FAIL, PASS]


def test_a_cold_flag_that_is_made_ready_for_much_later():
    assert judged(lambda b: said(b, {"default/a": 1, "default/b": 1}, 9.5)) == [FAIL, PASS]


def test_a_node_that_was_not_looked_at_for_long_enough():
    def few(b):
        b.events = [e for e in b.events if not (isinstance(e, Status) and e.t > ns(1.0))]
        return b

    assert judged(few) == [UNKNOWN, PASS]


@pytest.mark.parametrize(
    ("events", "verdict"),
    [
        ([("default", "a")], PASS),
        ([], FAIL),
        ([("acme", "a")], FAIL),
        ([("default", "a")] * 2, FAIL),
        ([("default", "a"), ("default", "b")], FAIL),
    ],
    ids=str,
)
def test_on_the_wire_once_and_for_that_flag_alone(events, verdict):
    def seen(b):
        b.events = [e for e in b.events if not (isinstance(e, Stream) and e.what == "prewarm")]
        for n, (org, key) in enumerate(events):
            b.stream(2.0 + n, "prewarm", org=org, key=key)
        return b

    assert judged(seen) == [PASS, verdict]


def test_a_subscriber_that_was_away_may_have_missed_it():
    assert judged(lambda b: b.stream(2, "close").stream(3, "connect")) == [PASS, UNKNOWN]


def test_what_was_never_hot_shows_nothing():
    assert judged(threshold=97.0) == [UNKNOWN, UNKNOWN]
    assert judged(threshold=3.0) == [UNKNOWN, UNKNOWN]
    assert judged(at="pop-b") == [UNKNOWN, UNKNOWN]


def test_answers_of_a_cache_don_t_heat_the_platform():
    def from_cache(b):
        b.events = [
            msgspec.structs.replace(e, cached=True) if isinstance(e, Complete) else e
            for e in b.events
        ]
        return b

    assert judged(from_cache) == [UNKNOWN, UNKNOWN]


def test_nothing_to_look_at_and_no_phase():
    assert judged(nodes=()) == [UNKNOWN]
    assert judged(phase="nowhere") == [UNKNOWN]
