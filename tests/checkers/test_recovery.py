from dataclasses import replace

import pytest
from build import Builder, ns, steady
from hypothesis import given, settings
from hypothesis import strategies as st
from sound import outage

from harness.checkers.recovery import Recovery
from harness.verdict import Verdict

RTO = Recovery(requirement="S2", probe="users", rto=1.0)


def only(findings):
    (finding,) = findings
    return finding


def brute_force(requests, onset, heal, objective):
    """The first good answer after which no answer is bad, by looking at every pair."""
    looked_at = [
        (done, ok and done - due <= objective)
        for due, done, ok in requests
        if due < heal and done >= onset
    ]
    if all(good for _, good in looked_at):
        return 0
    for done, good in sorted(looked_at):
        if good and all(g for d, g in looked_at if d >= done):
            return done - onset
    return None


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 120)), min_size=40, max_size=60),
    st.integers(5, 15),
    st.integers(25, 38),
)
def test_as_brute_force_says(answers, onset, heal):
    """Requests each 10 ms, answered after odd times so that no two answers come at once."""
    b = Builder().probe("users", interval=0.01, budget=1.0)
    requests = []
    for n, (ok, took) in enumerate(answers):
        exact = took * 0.001 + n * 1e-6
        b.request("users", n * 0.01, exact, outcome="ok" if ok else "fail")
        requests.append((ns(n * 0.01), ns(n * 0.01) + ns(exact), ok))
    b.fault(onset * 0.01, heal * 0.01)
    wanted = brute_force(requests, ns(onset * 0.01), ns(heal * 0.01), ns(0.1))
    finding = only(replace(RTO, objective=0.1, hold=0.0)(b.history(len(answers) * 0.01)))
    if wanted is None:
        assert finding.value == pytest.approx((heal - onset) * 0.01)
        assert finding.verdict is Verdict.UNKNOWN
        assert "too short a time" in finding.reason
    else:
        assert finding.value == pytest.approx(wanted / 1e9)


@settings(max_examples=25, deadline=None)
@given(st.floats(0.02, 5.0), st.floats(0.02, 5.0))
def test_a_simulated_outage_is_measured_within_the_error(gap, rto):
    finding = only(replace(RTO, rto=rto)(outage(gap=gap).history(10)))
    assert finding.kind == "rto"
    assert finding.error == pytest.approx(0.01)
    assert abs(finding.value - gap) <= finding.error + 0.001
    if gap < rto - 0.02:
        assert finding.verdict is Verdict.PASS
    if gap > rto + 0.02:
        assert finding.verdict is Verdict.FAIL


def test_within_the_error_of_the_bound_nobody_can_tell():
    finding = only(replace(RTO, rto=0.295)(outage(gap=0.3).history(10)))
    assert finding.verdict is Verdict.UNKNOWN
    assert "less than the measurement error" in finding.reason


def test_rto_0_allows_no_failure_at_all():
    none = only(replace(RTO, rto=0.0)(outage(gap=0.0).history(10)))
    assert (none.verdict, none.value) == (Verdict.PASS, 0.0)
    one = only(replace(RTO, rto=0.0)(outage(gap=0.01).history(10)))
    assert one.verdict is Verdict.FAIL
    assert one.figures["failed"] == 1


def test_a_request_in_flight_at_the_onset_counts():
    b = Builder().probe("users", interval=0.1, budget=1.0).fault(2.05, 8)
    steady(b, "users", 0, 10, 0.1, lambda t: {"took": 0.09, "outcome": "fail"} if t == 2.0 else {})
    assert only(replace(RTO, rto=0.0)(b.history(10))).verdict is Verdict.FAIL


def test_never_back():
    fail = only(RTO(outage(gap=20).history(10)))
    assert fail.verdict is Verdict.FAIL
    assert fail.value == pytest.approx(6.0)
    short = only(replace(RTO, rto=30.0)(outage(gap=20).history(10)))
    assert short.verdict is Verdict.UNKNOWN


def test_a_relapse_counts_from_its_end():
    b = Builder().probe("users", interval=0.01, budget=0.05).fault(2, 8)
    steady(
        b, "users", 0, 10, 0.01, lambda t: {"outcome": "fail"} if 2 <= t < 2.2 or t == 5.0 else {}
    )
    assert only(replace(RTO, rto=10.0)(b.history(10))).value == pytest.approx(3.011)


def test_back_too_short_before_the_heal_is_not_stays():
    finding = only(replace(RTO, rto=10.0)(outage(gap=5.5).history(10)))
    assert finding.verdict is Verdict.UNKNOWN
    assert "only 0.499 s" in finding.reason
    assert only(RTO(outage(gap=5.5).history(10))).verdict is Verdict.FAIL  # too late already


def test_since_the_heal():
    b = Builder().probe("users", interval=0.01, budget=0.05).fault(2, 5)
    steady(b, "users", 0, 10, 0.01, lambda t: {"outcome": "fail"} if 2 <= t < 5.4 else {})
    finding = only(replace(RTO, since="heal")(b.history(10)))
    assert finding.value == pytest.approx(0.401)
    never = Builder().probe("users", interval=0.01).fault(2)
    assert only(replace(RTO, since="heal")(never.history(10))).verdict is Verdict.UNKNOWN


def test_until_a_phase_ends():
    b = Builder().phase(0, "a").phase(2, "broken").phase(4, "c")
    b.probe("users", interval=0.01, budget=0.05).fault(2, 8)
    steady(b, "users", 0, 10, 0.01, lambda t: {"outcome": "fail"} if t == 6.0 else {})
    assert only(replace(RTO, until="broken")(b.history(10))).value == 0.0
    assert only(RTO(b.history(10))).value == pytest.approx(4.011)


def test_level_and_latency_are_part_of_the_objective():
    b = Builder().probe("users", interval=0.01, budget=0.05).fault(2, 8)

    def answer(t):
        return {
            "level": "EMERGENCY" if 2 <= t < 2.5 else "HEALTHY",
            "took": 0.3 if 2.5 <= t < 3 else 0.001,
        }

    steady(b, "users", 0, 10, 0.01, answer)
    assert only(RTO(b.history(10))).value == 0.0
    assert only(replace(RTO, levels=("HEALTHY",))(b.history(10))).value == pytest.approx(
        0.501, abs=0.3
    )
    both = only(replace(RTO, levels=("HEALTHY",), objective=0.2)(b.history(10)))
    assert both.value == pytest.approx(1.29, abs=0.011)


def test_freshness_is_part_of_the_objective():
    def history(lag_until, with_writes=True):
        b = (
            Builder()
            .probe("users", interval=0.05, budget=0.05)
            .probe("w", "write", interval=0.1)
            .fault(2, 8)
        )
        acked = []
        for n in range(100 if with_writes else 0):
            b.write("w", n * 0.1, n + 1, n + 1)
            acked.append((n * 0.1 + 0.002, n + 1))

        def answer(t):
            until = 2.0 if 2.0 <= t < lag_until else t
            seen = max((v for at, v in acked if at <= until), default=0)
            return {"metadata": {"flag_version": seen}, "value": seen}

        return steady(b, "users", 0, 10, 0.05, answer).history(10)

    fresh = replace(RTO, writes="w", fresh_within=0.5, rto=0.3)
    assert only(fresh(history(2.0))).value == 0.0
    late = only(fresh(history(4.0)))
    assert late.value == pytest.approx(2.0, abs=0.06)
    assert late.verdict is Verdict.FAIL
    assert only(fresh(history(2.0, with_writes=False))).verdict is Verdict.UNKNOWN


def test_added_latency():
    def history(slowest):
        b = Builder().phase(0, "baseline").phase(2, "broken")
        b.probe("users", interval=0.01, budget=0.05).fault(2, 8)
        return steady(
            b, "users", 0, 10, 0.01, lambda t: {"took": slowest if t == 2.0 else 0.002}
        ).history(10)

    added = replace(RTO, rto=0.0, max_added_latency=0.2)
    assert [f.verdict for f in added(history(0.19))] == [Verdict.PASS, Verdict.PASS]
    _, slow = added(history(0.21))
    assert slow.verdict is Verdict.FAIL
    assert slow.value == pytest.approx(208.0)
    assert slow.figures["slower_than_bound"] == 1


def test_added_latency_needs_a_baseline():
    b = outage(gap=0.0)
    found = replace(RTO, max_added_latency=0.2, baseline="nothing")(b.history(10))
    assert found[1].verdict is Verdict.UNKNOWN


def test_each_fault_of_that_name_is_measured():
    b = Builder().probe("users", interval=0.01, budget=0.05)
    b.fault(1, 4, n=1, label="first").fault(5, 9, n=2, label="second")
    steady(b, "users", 0, 10, 0.01, lambda t: {"outcome": "fail"} if 5 <= t < 7 else {})
    first, second = RTO(b.history(10))
    assert (first.subject, first.verdict) == ("first", Verdict.PASS)
    assert (second.subject, second.verdict) == ("second", Verdict.FAIL)
    assert only(replace(RTO, fault="second")(b.history(10))).verdict is Verdict.FAIL
    assert only(replace(RTO, fault="third")(b.history(10))).verdict is Verdict.UNKNOWN
