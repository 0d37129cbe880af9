import math
import random

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.load.counting import Merger, Report, Tally, digits

# How long an example takes says something of the machine only.
UNTIMED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

answers = st.lists(
    st.tuples(
        st.integers(100, 104),  # second
        st.sampled_from(["evaluate", "bulk"]),
        st.floats(0, 5_000_000),  # µs
        st.sampled_from([(False, False), (True, False), (True, True)]),
        st.integers(0, 2),  # worker
    ),
    max_size=200,
)


@UNTIMED
@given(st.floats(0, 1e9))
def test_three_digits_of_a_latency_are_kept(us):
    assert abs(digits(us) - us) <= max(0.5, us * 0.0051)


def tallied(given_answers, seed):
    """Through three workers that report at times of their own, as they would over the wire."""
    chance, merger = random.Random(seed), Merger()
    tallies = [Tally() for _ in range(3)]
    for second, name, us, (failed, silent), worker in given_answers:
        tallies[worker].answered(second, name, us, failed=failed, silent=silent)
        if chance.random() < 0.2:
            merger.take(str(worker), wire(tallies[worker].take()))
    for worker, tally in enumerate(tallies):
        tally.final = True
        merger.take(str(worker), wire(tally.take()))
    return merger


def wire(report):
    return msgspec.json.decode(msgspec.json.encode(report), type=Report)


@UNTIMED
@given(answers, st.integers(0, 100))
def test_no_request_is_lost_between_workers_and_reports(given_answers, seed):
    merger = tallied(given_answers, seed)
    told = {s.second: s for s in merger.until(1000)}
    for second in {a[0] for a in given_answers}:
        mine = [a for a in given_answers if a[0] == second]
        assert told[second].requests == len(mine)
        assert told[second].failures == sum(a[3][0] for a in mine)
        ranked = sorted(digits(a[2]) for a in mine)
        for share, seen in (
            (0.5, told[second].p50),
            (0.95, told[second].p95),
            (0.99, told[second].p99),
        ):
            assert seen == ranked[max(0, math.ceil(share * len(ranked)) - 1)] * 1000
    assert sum(s.requests for s in told.values()) == len(given_answers)
    for name in ("evaluate", "bulk"):
        assert merger.unanswered[name] == sum(a[1] == name and a[3][1] for a in given_answers)
    assert merger.finals == {"0", "1", "2"}


def test_a_second_is_told_once_and_a_late_report_once_more():
    tally, merger = Tally(), Merger()
    tally.answered(7, "evaluate", 1000, failed=False, silent=False)
    merger.take("a", tally.take())
    merger.users(7, 4)
    assert [(s.second, s.requests, s.users) for s in merger.until(8)] == [(7, 1, 4)]
    assert merger.until(8) == []
    tally.answered(7, "evaluate", 2000, failed=False, silent=False)
    merger.take("a", tally.take())
    assert [(s.second, s.requests, s.p50) for s in merger.until(8)] == [(7, 1, 2_000_000)]


def test_how_late_the_loop_was_is_the_worst_of_a_second():
    tally, merger = Tally(), Merger()
    for ns in (3, 9, 5):
        tally.late(7, ns)
    merger.take("a", tally.take())
    assert merger.until(8)[0].late == 9
