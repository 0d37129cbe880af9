"""Open streams: counted over all subscribers, whatever the order in which they come and go."""

import pytest
from build import Builder

from harness.checkers.open_streams import OpenStreams
from harness.verdict import Verdict

PASS, FAIL, UNKNOWN = Verdict.PASS, Verdict.FAIL, Verdict.UNKNOWN


def judged(*events, at_most=1, probes=("a", "b")):
    """The verdicts on how many were open, and on refusals, after (probe, what, error) in order."""
    b = Builder()
    for probe in probes:
        b.probe(probe, "subscribe")
        b.stream(0.0, "connect", probe=probe)
    for n, (probe, what, error) in enumerate(events):
        b.stream(n + 1, what, probe=probe, error=error)
    checker = OpenStreams(requirement="P4", probes=probes, at_most=at_most)
    return [finding.verdict for finding in checker(b.history(20))]


A, B = ("a", "open", ""), ("b", "open", "")
GONE, REFUSED = ("a", "close", "CONNECTION_CLOSED"), ("b", "close", "HTTP_429")


def test_one_after_the_other():
    assert judged(A, REFUSED, GONE, B) == [PASS, PASS]


def test_both_at_once():
    assert judged(A, B) == [FAIL, PASS]


def test_none_ever():
    assert judged(REFUSED, REFUSED) == [UNKNOWN, PASS]


@pytest.mark.parametrize("error", ["SERVICE_UNAVAILABLE", "CONNECTION_REFUSED", "TIMEOUT"])
def test_refused_for_another_reason(error):
    assert judged(A, ("b", "close", error)) == [PASS, FAIL]


def test_a_stream_that_was_open_may_end_for_any_reason():
    assert judged(A, GONE, A, ("a", "close", "PROBE_END"), ("b", "close", "PROBE_END")) == [
        PASS,
        PASS,
    ]


def test_no_more_subscribers_than_may_be_served_show_nothing():
    assert judged(A, B, at_most=2) == [UNKNOWN, UNKNOWN]
