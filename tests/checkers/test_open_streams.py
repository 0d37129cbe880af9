"""Open streams: counted over all subscribers, whatever the order in which they come and go."""

import pytest
from build import Builder
from hypothesis import given
from hypothesis import strategies as st

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


@pytest.mark.parametrize("error", ["SERVICE_UNAVAILABLE", "HTTP_500", "INVALID"])
def test_refused_for_another_reason(error):
    assert judged(A, ("b", "close", error)) == [PASS, FAIL]


@pytest.mark.parametrize("error", ["CONNECTION_REFUSED", "TIMEOUT"])
def test_no_answer_is_no_refusal(error):
    assert judged(A, ("b", "close", error)) == [PASS, UNKNOWN]


def test_a_stream_that_was_open_may_end_for_any_reason():
    assert judged(A, GONE, A, ("a", "close", "PROBE_END"), ("b", "close", "PROBE_END")) == [
        PASS,
        PASS,
    ]


def test_no_more_subscribers_than_may_be_served_show_nothing():
    assert judged(A, B, at_most=2) == [UNKNOWN, UNKNOWN]


SPANS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 90), st.integers(1, 40)), min_size=1, max_size=12
)


@given(SPANS, st.integers(1, 3))
def test_as_many_as_at_the_worst_moment(spans, at_most):
    """Each span is (subscriber, from, for how long), in tenths of a second; one's own spans don't overlap."""
    kept = []
    for who, start, lasts in spans:
        if all(w != who or start > b or start + lasts < a for w, a, b in kept):
            kept.append((who, start, start + lasts))
    b, acts = Builder(), []
    for who in range(4):
        b.probe(f"p{who}", "subscribe")
        b.stream(0.0, "connect", probe=f"p{who}")
    for who, start, end in kept:
        acts += [(start + who * 0.01, "open", who), (end + 0.5 + who * 0.01, "close", who)]
    for t, what, who in sorted(acts):
        b.stream(t / 10, what, probe=f"p{who}")
    moments = [t for t, *_ in acts]
    most = max(
        sum(start + who * 0.01 <= t < end + 0.5 + who * 0.01 for who, start, end in kept)
        for t in moments
    )
    checker = OpenStreams(requirement="P4", probes=("p0", "p1", "p2", "p3"), at_most=at_most)
    found = checker(b.history(20))
    assert found[0].value == most
    assert found[0].verdict is (PASS if most <= at_most else FAIL)
