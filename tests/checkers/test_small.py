"""The checkers that need only a few cases, and what all checkers share."""

import math
from dataclasses import replace

import pytest
from build import Builder, ns, steady
from hypothesis import given, settings
from hypothesis import strategies as st
from sound import SOUND, outage

from harness.checkers.answers import Answers, Expected
from harness.checkers.availability import Availability
from harness.checkers.base import Result, faults_named, judge, quantile, whole, windows
from harness.checkers.reconvergence import Reconvergence
from harness.checkers.status_field import StatusField
from harness.verdict import Evidence, Verdict

PASS, FAIL, UNKNOWN = Verdict.PASS, Verdict.FAIL, Verdict.UNKNOWN


# -- base ----------------------------------------------------------------------------------------------------------


@given(st.floats(-10, 10), st.floats(-10, 10), st.floats(0, 5), st.sampled_from(["<=", ">=", "=="]))
def test_judge(value, bound, error, relation):
    holds = {"<=": value <= bound, ">=": value >= bound, "==": value == bound}[relation]
    broken = abs(value - bound) > error and not holds
    assert judge(value, relation, bound, error) is (PASS if holds else FAIL if broken else UNKNOWN)


def test_judge_of_nothing():
    assert judge(math.nan, "<=", 1, 0) is UNKNOWN
    with pytest.raises(ValueError, match="unknown relation"):
        judge(1, "<", 1, 0)


@given(st.lists(st.integers(0, 100), min_size=1), st.sampled_from([0.5, 0.9, 0.99, 1.0]))
def test_quantile_is_the_least_value_that_enough_do_not_exceed(values, q):
    wanted = min(v for v in values if sum(u <= v for u in values) >= q * len(values))
    assert quantile(values, q) == wanted
    assert math.isnan(quantile([], q))


def test_evidence_is_the_first_given_in_the_order_of_time():
    result = Result(value=1.0, evidence=[Evidence(20 - n, "x") for n in range(15)])
    checker, _ = SOUND["recovery"]()
    assert [e.t for e in result.finding(checker).evidence] == list(range(13, 21))


def test_claims_of_the_scenario_come_first():
    checker, b = SOUND["recovery"]()
    (finding,) = replace(checker, claim="RTO 1 s")(b.history(10))
    assert finding.claim == "RTO 1 s: service is back within 1 s"


def test_what_lies_behind_the_last_probe_was_looked_at_by_nobody():
    b = Builder().phase(0, "a").phase(5, "b").probe("users").request("users", 1)
    history = b.history(8)
    assert whole(history).end == ns(8) - 1
    assert [(w.start, w.end) for w in windows(history, "b")] == [(ns(5), ns(8) - 1)]
    assert windows(history, "c") == []


def test_faults_by_label_and_kind():
    b = Builder().fault(3, n=1, label="late").fault(1, n=2, label="early").fault(2, n=3, name="cut")
    history = b.history(5)
    assert [r.fault for r in faults_named(history, "")] == [2, 3, 1]
    assert [r.fault for r in faults_named(history, "crash")] == [2, 1]
    assert [r.fault for r in faults_named(history, "late")] == [1]
    assert faults_named(history, "nothing") == []


# -- availability --------------------------------------------------------------------------------------------------


def served(failed, count=1000, slow=()):
    b = Builder().phase(0, "x").probe("users", interval=0.01, budget=0.05)
    for n in range(count):
        outcome = "fail" if n in failed else "ok"
        b.request("users", n * 0.01, 0.5 if n in slow else 0.001, outcome=outcome)
    return b.history(count * 0.01)


@settings(max_examples=20, deadline=None)
@given(st.sets(st.integers(0, 999), max_size=5))
def test_share_of_answers(failed):
    ratio = Availability(requirement="E2", probe="users", phase="x", min_ratio=0.999)
    (finding,) = ratio(served(failed))
    assert finding.value == (1000 - len(failed)) / 1000
    assert finding.verdict is (PASS if len(failed) <= 1 else FAIL)
    assert finding.figures["error_budget_left"] == pytest.approx(1 - len(failed))
    (finding,) = replace(ratio, min_ratio=None)(served(failed))
    assert finding.verdict is (FAIL if failed else PASS)
    (finding,) = replace(ratio, min_ratio=None, max_failed=3)(served(failed))
    assert finding.verdict is (PASS if len(failed) <= 3 else FAIL)


def test_too_few_requests_for_the_share():
    ratio = Availability(requirement="E2", probe="users", min_ratio=0.9999)
    assert ratio(served(set()))[0].verdict is UNKNOWN


def test_latency():
    check = Availability(requirement="P4", probe="users", phase="x", p99=0.1)
    assert [f.verdict for f in check(served(set(), slow=range(10)))] == [PASS, PASS]
    assert [f.verdict for f in check(served(set(), slow=range(11)))] == [PASS, FAIL]


def test_each_phase_for_itself():
    b = outage()
    found = Availability(requirement="E2", probe="users")(b.history(10))
    assert [(f.subject, f.verdict) for f in found] == [
        ("users in baseline", PASS),
        ("users in broken", FAIL),
    ]
    missing = Availability(requirement="E2", probe="users", phase="nowhere")(b.history(10))
    assert [f.verdict for f in missing] == [UNKNOWN]


# -- reconvergence -------------------------------------------------------------------------------------------------

MOVE = Reconvergence(requirement="E2", probe="users", within=0.35)


def test_reconvergence():
    (finding,) = MOVE(outage().history(10))
    assert finding.value == pytest.approx(0.301)
    assert finding.verdict is PASS
    assert replace(MOVE, within=0.2)(outage().history(10))[0].verdict is FAIL


def test_what_the_machine_held_back_is_not_the_platforms():
    """Onset at 2 s, moved after 0.301 s: beyond 0.2 s by more than 0.1 s, of which a stall may explain a part or all."""
    strict = replace(MOVE, within=0.2)
    onset = outage().history(10).faults[1].onset / 1e9

    def judged(at, lasted, checker=strict):
        (finding,) = checker(outage().stall(at, lasted).history(10))
        return finding

    assert judged(onset + 0.2, 0.12).verdict is UNKNOWN
    assert "the machine stood still for 0.12 s" in judged(onset + 0.2, 0.12).reason
    assert judged(onset + 0.2, 0.03).verdict is FAIL  # too short to explain it
    assert judged(onset + 0.05, 1.0).verdict is FAIL  # nearly all of it was before the fault
    assert judged(onset + 2.0, 0.5).verdict is FAIL  # afterwards
    assert judged(onset + 0.2, 0.12, MOVE).verdict is PASS  # late, and still in time


def test_the_spread_over_many_failures():
    def moves(times, slowest=0.3):
        b = Builder().probe("users", interval=0.01, budget=0.05)
        gaps = [0.1 + 0.02 * n for n in range(times - 1)] + [slowest]
        for n in range(times):
            b.fault(10 * n + 2, 10 * n + 8, n=n + 1)

        def node(t):
            n, into = int(t // 10), t % 10
            return "pop-a" if into < 2 + gaps[min(n, times - 1)] or into >= 8 else "pop-b"

        steady(b, "users", 0, 10 * times, 0.01, lambda t: {"node": node(t)})
        checker = replace(MOVE, nodes=("pop-a",), at_least=4)
        return checker(b.history(10 * times))

    *each, spread = moves(5)
    assert len(each) == 5
    assert spread.verdict is PASS
    assert spread.value == pytest.approx(0.301, abs=0.011)
    assert spread.figures["n"] == 5
    assert spread.figures["min"] == pytest.approx(0.101, abs=0.011)
    assert spread.figures["p50"] == pytest.approx(0.141, abs=0.011)
    assert moves(5, slowest=0.5)[-1].verdict is FAIL
    *_, few = moves(3)
    assert few.verdict is UNKNOWN
    assert "3 failures were measured" in few.reason


def test_traffic_that_goes_back_has_not_moved():
    b = Builder().probe("users", interval=0.01, budget=0.05).fault(2, 8)
    steady(
        b, "users", 0, 10, 0.01, lambda t: {"node": "pop-a" if t < 2 or 4 <= t < 4.1 else "pop-b"}
    )
    assert MOVE(b.history(10))[0].value == pytest.approx(2.101)


def test_a_probe_that_was_elsewhere_all_along_shows_nothing():
    b = Builder().probe("users", interval=0.01, budget=0.05).fault(2, 8)
    steady(b, "users", 0, 10, 0.01, node="pop-b")
    assert MOVE(b.history(10))[0].verdict is UNKNOWN


def test_a_request_in_flight_at_the_onset_may_be_answered_elsewhere():
    b = Builder().probe("users", interval=0.01, budget=0.05).fault(2.005, 8)
    steady(
        b, "users", 0, 10, 0.01, lambda t: {"node": "pop-a" if t < 2 else "pop-b", "took": 0.008}
    )
    assert MOVE(b.history(10))[0].verdict is PASS


def test_traffic_that_never_moves():
    assert MOVE(outage(gap=20).history(10))[0].verdict is FAIL
    assert replace(MOVE, within=60.0)(outage(gap=20).history(10))[0].verdict is UNKNOWN


# -- alert ---------------------------------------------------------------------------------------------------------


def alerts(*times, watched=True, heal=6.0, **more):
    checker, _ = SOUND["alert"]()
    b = Builder().fault(3.0, heal)
    if watched:
        b.probe("watch", "alerts")
    for t in times:
        b.alert(t, "HUB_FAILOVER", "pop-a", **({"hub": "hub-1"} | more))
    return [f.verdict for f in checker(b.history(10))]


def test_alerts():
    assert alerts(4.0) == [PASS, PASS]
    assert alerts(5.5) == [FAIL, PASS]
    assert alerts() == [FAIL, PASS]
    assert alerts(1.0, 4.0) == [PASS, FAIL]
    assert alerts(4.0, hub="hub-2") == [FAIL, PASS]
    assert alerts(watched=False) == [UNKNOWN, UNKNOWN]
    assert alerts(4.0, watched=False) == [PASS, UNKNOWN]


def test_an_alert_of_an_earlier_fault_is_not_too_early():
    checker, _ = SOUND["alert"]()
    b = (
        Builder()
        .fault(1, 2, n=1, label="one")
        .fault(4, 6, n=2, label="two")
        .probe("watch", "alerts")
    )
    b.alert(1.5, "HUB_FAILOVER", hub="hub-1").alert(4.5, "HUB_FAILOVER", hub="hub-1")
    assert [f.verdict for f in replace(checker, fault="two")(b.history(10))] == [PASS, PASS]
    b.alert(0.5, "HUB_FAILOVER", hub="hub-1")
    assert [f.verdict for f in replace(checker, fault="two")(b.history(10))] == [PASS, FAIL]


# -- status_field --------------------------------------------------------------------------------------------------


def status(values, **more):
    b = Builder().fault(1.0, 9.0)
    for n, value in enumerate(values):
        b.status(n * 0.5, data={"pool": {"size": value}}, upstream="u", version=n)
    check = StatusField(requirement="E3", node="pop-a", field="pool.size", equals=3, within=2.0)
    (finding,) = replace(check, **more)(b.history(10))
    return finding


def test_status_field():
    met = status([1, 1, 1, 3, 3, 3, 3, 3])
    assert (met.verdict, met.value, met.error) == (PASS, 0.5, 0.5)
    assert status([1] * 8 + [3] * 8).verdict is FAIL
    assert status([1] * 16).verdict is FAIL
    assert status([1] * 5).verdict is UNKNOWN  # not watched for long enough
    assert status([1, 1]).verdict is UNKNOWN
    assert status([1, 1, 1, True, True, True, True, True]).verdict is FAIL
    assert status([1, 1, 1, 5] + [5] * 8, at_least=4).verdict is PASS
    assert status([1] * 12, field="pool.nothing").verdict is FAIL
    assert status([1] * 12, field="upstream", one_of=("u", "v")).verdict is PASS
    assert status([1, 1, 3, 1, 1, 1, 1, 1, 1]).verdict is PASS
    assert status([1, 1, 3, 1, 1, 1, 1, 1, 1], stays=True).verdict is FAIL


def test_status_field_in_a_phase():
    def judged(values, **more):
        b = Builder().phase(0, "before").phase(2.0, "moved").phase(8.0, "after")
        for n, value in enumerate(values):
            b.status(n * 0.5, upstream=value)
        check = StatusField(requirement="M3", node="pop-a", field="upstream", equals="eu", within=2)
        (finding,) = replace(check, phase="moved", **more)(b.history(10))
        return finding

    moved = judged(["us"] * 6 + ["eu"] * 14)
    assert (moved.verdict, moved.value, moved.error) == (PASS, 1.0, 0.5)
    assert judged(["us"] * 10 + ["eu"] * 10).verdict is FAIL
    assert judged(["us"] * 20).verdict is FAIL
    assert judged(["eu"] * 20).verdict is UNKNOWN  # it was so before
    assert judged(["us"] * 6 + ["eu"] * 4 + ["us"] * 10).verdict is PASS
    assert judged(["us"] * 6 + ["eu"] * 4 + ["us"] * 10, stays=True).verdict is FAIL
    assert judged(["us"] * 6 + ["eu"] * 10 + ["us"] * 4, stays=True).verdict is PASS
    assert judged(["us"] * 4).verdict is UNKNOWN
    with pytest.raises(ValueError, match="not both"):
        judged(["us"], fault="crash")


# -- answers -------------------------------------------------------------------------------------------------------


def test_answers():
    b = Builder().phase(0, "x").probe("users")
    told = {"fallback": True}
    b.request(
        "users", 1, key="flag-1", value=False, reason="DEFAULT", emergency=True, metadata=told
    )
    b.request("users", 2, key="text-1", outcome="fail", status=404)
    b.request("users", 3, key="other")

    def verdict(*expect, **more):
        return Answers(requirement="P3", probe="users", phase="x", expect=expect, **more)(
            b.history(10)
        )[0].verdict

    fine = Expected(key="flag-*", value=False, reason="DEFAULT", emergency=True, stale=False)
    assert verdict(fine) is PASS
    assert verdict(fine, Expected(key="text-*", status=404)) is PASS
    assert verdict(Expected(key="flag-*", value=0)) is FAIL  # 0 is not False
    for wrong in (
        {"reason": "STATIC"},
        {"emergency": False},
        {"stale": True},
        {"outcome": "fail"},
        {"status": 200},
    ):
        assert verdict(Expected(key="flag-*", **wrong)) is FAIL
    assert verdict(replace(fine, cache_control="", etag=False)) is PASS
    assert verdict(replace(fine, cache_control="public, max-age=2")) is FAIL
    assert verdict(replace(fine, etag=True)) is FAIL
    assert verdict(replace(fine, at_least=2)) is UNKNOWN
    assert verdict(replace(fine, metadata=told)) is PASS
    assert verdict(replace(fine, metadata={"fallback": False})) is FAIL
    assert verdict(Expected(key="nothing")) is UNKNOWN
    assert verdict() is UNKNOWN
    assert verdict(fine, margin=1.5) is UNKNOWN
    assert verdict(fine, level="EMERGENCY") is PASS
