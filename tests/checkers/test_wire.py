"""The checkers that read wiretaps: retries, breaker, reconnect_spread; and calls, on which they stand."""

import random
from dataclasses import replace

import msgspec
import pytest
from build import Builder, ns
from hypothesis import given, settings
from hypothesis import strategies as st
from sound import SOUND, breaker, broken_circuit, retried, retries

from harness.checkers.calls import calls, error_class
from harness.checkers.reconnect_spread import ReconnectSpread
from harness.checkers.retries import Retries, least_spread
from harness.history import Wire
from harness.verdict import Verdict

PASS, FAIL, UNKNOWN = Verdict.PASS, Verdict.FAIL, Verdict.UNKNOWN


def by_claim(findings, word):
    return next(f for f in findings if word in f.claim)


# -- calls ---------------------------------------------------------------------------------------------------------


def test_error_classes():
    def wire(**more):
        return error_class(Wire(t=0, link="l", n=1, connection=1, method="GET", path="/", **more))

    assert wire(status=200) == ""
    assert wire(status=304) == ""
    assert wire(status=503) == "SERVICE_UNAVAILABLE"
    assert wire(status=404) == "HTTP_404"
    assert wire(scripted="reset") == "CONNECTION_RESET"
    assert wire(scripted="cut", status=200) == "CONNECTION_RESET"
    assert wire(error="caller-closed") == "TIMEOUT"
    assert wire(error="caller-closed", status=200) == "TIMEOUT"
    assert wire(error="upstream-closed") == "UNCLEAR"


def test_calls_are_grouped_by_path_and_time():
    b = Builder().wire(1, path="/a").wire(1.1, path="/b").wire(1.2, path="/a").wire(5, path="/a")
    found = calls(b.events, ns(2))
    assert [(c.path, len(c.attempts)) for c in found] == [("/a", 2), ("/b", 1), ("/a", 1)]


def test_a_second_choice_is_another_attempt_of_the_same_operation():
    b = (
        Builder()
        .wire(1, link="p->a", path="/x")
        .wire(1.1, link="p->b", path="/x")
        .wire(1.1, link="q->b", path="/x")
    )
    assert sorted(len(c.attempts) for c in calls(b.events, ns(2))) == [1, 2]


# -- retries -------------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_a_client_that_keeps_the_policy_passes(seed):
    rng = random.Random(seed)
    b = Builder()
    for n in range(12):
        for how in ("503", "reset", "timeout", "500"):
            retried(b, rng, f"/{how}/{n}", rng.random() * 5, how, 1 if how == "500" else 3)
    found = Retries(requirement="P2", link="pop-a->*")(b.history(10))
    assert [f.verdict for f in found] == [PASS] * 5


def spoiled(attempts=None, jitter=0.1, delay=None, count=12):
    b = Builder()
    rng = random.Random(3)
    for n in range(count):
        for how in ("503", "reset", "timeout", "500"):
            wanted = 1 if how == "500" else 3
            number = (attempts or {}).get(how, wanted)
            if delay is None:
                retried(b, rng, f"/{how}/{n}", n * 0.1, how, number, jitter)
            else:
                status = int(how) if how.isdigit() else 0
                error = "caller-closed" if how == "timeout" else ""
                for m in range(number):
                    at = n * 0.1 + m * delay
                    b.wire(at, path=f"/{how}/{n}", status=status, scripted=how, error=error)
    return Retries(requirement="P2", link="pop-a->*")(b.history(10))


@pytest.mark.parametrize(
    "attempts", [{"503": 4}, {"503": 2}, {"500": 3}, {"timeout": 1}, {"reset": 4}]
)
def test_wrong_attempts_fail(attempts):
    assert spoiled(attempts)[0].verdict is FAIL


def test_wrong_delays_fail():
    assert spoiled(delay=0.05)[1].verdict is FAIL
    assert spoiled(delay=0.2)[1].verdict is FAIL


@pytest.mark.parametrize(("jitter", "verdict"), [(0.1, PASS), (0.2, FAIL), (0.5, FAIL)])
def test_a_wider_jitter_shows_in_the_middle_delay(jitter, verdict):
    found = {f.claim[:4]: f.verdict for f in spoiled(jitter=jitter)}
    assert found["half"] is verdict


def test_a_few_delays_may_be_longer_but_none_shorter():
    def delays(odd):
        b = Builder()
        rng = random.Random(5)
        for n in range(40):
            b.wire(n * 0.2, took=0.0, path=f"/{n}", status=503)
            gap = odd if n == 7 else 0.1 + rng.random() * 0.01
            b.wire(n * 0.2 + gap, took=0.0, path=f"/{n}", status=200)
        checker = Retries(requirement="P2", link="*", expect=("SERVICE_UNAVAILABLE",))
        return by_claim(checker(b.history(10)), "delays are")

    assert delays(0.3).verdict is PASS
    assert delays(0.3).figures["later_than_range"] == 1
    assert delays(0.05).verdict is FAIL
    # The evidence is of what decided, whatever else was farther from the range.
    assert delays(0.05).evidence[0].text == "retry 1 came after 50.0 ms, 50.0 ms outside"


@pytest.mark.parametrize(("stall", "verdict"), [(0.0, FAIL), (0.03, UNKNOWN), (0.005, FAIL)])
def test_delays_that_the_machine_made_long_are_not_the_callers(stall, verdict):
    b = Builder()
    for n in range(40):
        at = n * 0.2
        b.wire(at, took=0.0, path=f"/{n}", status=503)
        b.wire(at + 0.14, took=0.0, path=f"/{n}", status=200)
        if stall:
            b.stall(at + 0.1, stall)
    found = Retries(requirement="P2", link="*", expect=("SERVICE_UNAVAILABLE",))(b.history(10))
    delays = found[1]
    assert delays.value == pytest.approx(30, abs=1)
    assert delays.verdict is verdict, delays.reason


def test_a_caller_seen_to_go_late_has_not_hurried():
    def delays(gap):
        b = Builder()
        for n in range(40):
            # Each gives up after 1 s; of the seventh that was seen 80 ms late.
            seen = 1.08 if n == 7 else 1.0
            b.wire(n * 2, took=seen, path=f"/{n}", error="caller-closed", scripted="hang")
            b.wire(n * 2 + 1.0 + gap, took=0.0, path=f"/{n}", status=200)
        checker = Retries(requirement="P2", link="*", expect=("TIMEOUT",))
        return by_claim(checker(b.history(100)), "delays are")

    assert delays(0.105).verdict is PASS
    assert delays(0.05).verdict is FAIL


def test_no_jitter_fails():
    found = by_claim(spoiled(jitter=0.0), "jitter")
    assert found.verdict is FAIL
    assert found.figures["false_alarm"] == 1e-6


def test_too_few_delays_tell_nothing_of_jitter():
    assert by_claim(spoiled(count=3), "jitter").verdict is UNKNOWN


def test_amplification():
    found = by_claim(spoiled({"503": 9, "reset": 9, "timeout": 9, "500": 9}), "requests for each")
    assert found.verdict is FAIL


def test_a_class_that_was_not_seen_is_not_shown():
    b = Builder()
    rng = random.Random(3)
    for n in range(12):
        retried(b, rng, f"/{n}", n * 0.1, "503")
    checker = Retries(requirement="P2", link="*")
    assert {f.verdict for f in checker(b.history(10))} == {UNKNOWN}
    assert {
        f.verdict for f in replace(checker, expect=("SERVICE_UNAVAILABLE",))(b.history(10))
    } == {PASS}


def test_other_links_and_phases_do_not_count():
    checker, b = retries()
    b.phase(0, "early").phase(9, "late").wire(1, link="other->api", path="/503/1").wire(
        9.5, path="/y", status=503
    )
    assert by_claim(replace(checker, phase="early")(b.history(10)), "attempts").verdict is PASS
    assert by_claim(checker(b.history(10)), "attempts").verdict is FAIL


@pytest.mark.parametrize("count", [20, 40])
def test_the_threshold_of_jitter_has_its_false_alarm(count):
    """By counting, at a chance large enough to be seen."""
    rng = random.Random(1)
    cut, rounds = count // 10, 4000
    bound = least_spread(count, count - 1 - 2 * cut, 0.1)
    alarms = 0
    for _ in range(rounds):
        values = sorted(rng.random() for _ in range(count))
        alarms += values[count - 1 - cut] - values[cut] < bound
    assert 0.08 < alarms / rounds < 0.12


def test_the_threshold_for_many_delays_can_be_computed():
    assert 0.7 < least_spread(3000, 2400, 1e-6) < 0.8


# -- breaker -------------------------------------------------------------------------------------------------------


def broken(**more):
    checker, _ = breaker()
    return checker(broken_circuit(Builder(), **more).history(12))


@pytest.mark.parametrize("threshold", [3, 4, 6, 9])
def test_another_threshold_fails(threshold):
    found = by_claim(broken(threshold=threshold), "opens after")
    assert (found.verdict, found.value) == (FAIL, threshold)


def test_too_short_a_silence_fails():
    found = by_claim(broken(timeout=2.5), "while open")
    assert found.verdict is FAIL
    assert found.value == pytest.approx(2.5, abs=0.11)


def test_a_longer_silence_keeps_the_promise():
    assert by_claim(broken(timeout=3.4), "while open").verdict is PASS


def test_a_trial_that_is_not_alone_fails():
    found = by_claim(broken(trials=3), "while open")
    assert found.verdict is FAIL
    assert found.figures["trials_not_alone"] > 0


def test_calls_after_a_failing_trial_fail():
    checker, b = breaker()
    b.wire(4.8, path="/flags/extra", status=500)
    assert by_claim(checker(b.history(12)), "while open").verdict is FAIL


def test_a_call_in_the_middle_of_the_silence_fails():
    checker, b = breaker()
    b.wire(3.0, path="/flags/extra", status=500)
    assert FAIL in {f.verdict for f in checker(b.history(12))}


def test_silence_without_demand_shows_nothing():
    checker, b = breaker()
    history = b.history(12)
    quiet = Builder()
    quiet.events = [e for e in b.events if not (hasattr(e, "op") and ns(1.6) < e.t < ns(4))]
    quiet.kinds, quiet.ops = (
        b.kinds,
        {"cold": sum(type(e).__name__ == "Invoke" for e in quiet.events)},
    )
    assert by_claim(checker(history), "while open").verdict is PASS
    found = by_claim(checker(quiet.history(12)), "while open")
    assert found.verdict is UNKNOWN
    assert "nobody kept asking" in found.reason


def test_a_breaker_that_was_never_tripped_shows_nothing():
    found = broken(heal=1.2)
    assert by_claim(found, "opens after").verdict is UNKNOWN
    assert by_claim(found, "while open").verdict is UNKNOWN


def test_some_statuses_are_answers_and_no_failures():
    checker, b = breaker()
    b.events = [
        msgspec.structs.replace(e, status=404) if isinstance(e, Wire) and e.status == 200 else e
        for e in b.events
    ]
    assert {f.verdict for f in checker(b.history(12))} == {PASS}
    found = replace(checker, fine=())(b.history(12))
    assert PASS not in {f.verdict for f in found if "fallback" not in f.claim}


def test_one_that_never_opens_fails():
    assert by_claim(broken(threshold=1000), "opens after").verdict is FAIL


def test_one_that_never_closes_is_not_shown_to():
    assert by_claim(broken(heal=11.9), "closes after").verdict is UNKNOWN


def test_requests_turned_away_after_it_closed_fail():
    checker, b = breaker()
    b.events = [e for e in b.events if not (isinstance(e, Wire) and e.t > ns(11.5))]
    assert by_claim(checker(b.history(12)), "closes after").verdict is FAIL


def test_a_wrong_fallback_fails():
    checker, b = breaker()
    b.request("cold", 2.5, key="cold-x", reason="ERROR", value=False)
    assert by_claim(checker(b.history(12)), "fallback").verdict is FAIL


# -- reconnect_spread ----------------------------------------------------------------------------------------------

SPREAD = ReconnectSpread(
    requirement="S2", link="*", min_span=0.5, max_in_window=3, sources=("p0", "p1")
)


def reconnections(times):
    b = Builder().fault(1.0, 9.0)
    for n, t in enumerate(sorted(times)):
        b.wire(t, link=f"p{n % 2}->hub", path="/stream")
    return b.history(10)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1001, 1800), min_size=2, max_size=40, unique=True))
def test_the_densest_window_is_found(times):
    """Against every window that could be the densest: those that begin with a request."""
    times = [t / 1000 for t in times]
    wanted = max(sum(t <= u < t + 0.1 - 1e-9 for u in times) for t in times)
    found = SPREAD(reconnections(times))[2]
    assert found.value == wanted
    assert found.verdict is (PASS if wanted <= 3 else FAIL)


def test_span_and_absence():
    close = SPREAD(reconnections([2.0, 2.1]))
    assert [f.verdict for f in close] == [PASS, FAIL, PASS]
    one = SPREAD(reconnections([2.0]))
    assert [f.verdict for f in one] == [FAIL, UNKNOWN, PASS]
    assert "p1 did not connect" in one[0].reason


def test_too_late():
    found = replace(SPREAD, within=0.5)(reconnections([1.1, 2.0]))
    assert found[0].verdict is FAIL


def test_sources_are_those_that_were_cut():
    checker, b = SOUND["reconnect_spread"]()
    b.wire(0.2, took=2.9, link="pop-9->hub-1", path="/stream")
    found = checker(b.history(10))[0]
    assert found.verdict is FAIL
    assert "pop-9" in found.reason


def test_nobody_cut_nothing_shown():
    checker, _ = SOUND["reconnect_spread"]()
    b = (
        Builder()
        .fault(3, 8)
        .wire(4, link="pop-1->hub-2", path="/stream")
        .wire(5, link="pop-2->hub-2", path="/stream")
    )
    assert {f.verdict for f in checker(b.history(10))} == {UNKNOWN}
