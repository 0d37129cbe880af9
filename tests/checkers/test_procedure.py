"""A procedure: all its steps, in order, in time, and its record true."""

from dataclasses import replace

import pytest
from build import Builder, ns
from hypothesis import given
from hypothesis import strategies as st
from sound import databases, failed_over, procedure

from harness.checkers.procedure import Sign
from harness.verdict import Verdict

PASS, FAIL, UNKNOWN = Verdict.PASS, Verdict.FAIL, Verdict.UNKNOWN
STEPS = procedure()[0]
ORDER = replace(STEPS, signs=())


def judged(checker, **told):
    b = failed_over(databases(Builder().fault(3.0, 8.0)), **told)
    return checker(b.alert(4.1, "LOST").history(10))


def test_as_it_should_be():
    (order,) = judged(ORDER)
    assert order.verdict is PASS
    assert order.value == pytest.approx(3.0)
    assert order.figures == pytest.approx({"detect": 1.0, "promote": 2.0, "dns": 3.0})


def test_out_of_order():
    (found,) = judged(ORDER, names=("detect", "dns", "promote"))
    assert found.verdict is FAIL
    assert found.reason == "the steps were detect, dns, promote"


def test_one_left_out():
    (found,) = judged(ORDER, names=("detect", "dns"), took=(1.0, 2.0))
    assert found.verdict is FAIL


def test_not_finished_is_not_known():
    (found,) = judged(ORDER, names=("detect", "promote"), took=(1.0, 2.0))
    assert found.verdict is UNKNOWN
    assert found.reason == "after promote nothing more was told"


def test_too_late():
    (found,) = judged(replace(ORDER, within=2.5))
    assert found.verdict is FAIL


@given(st.permutations(["detect", "promote", "dns"]))
def test_only_one_order_will_do(names):
    (found,) = judged(ORDER, names=tuple(names))
    assert (found.verdict is PASS) == (tuple(names) == ORDER.steps)


def test_a_record_that_is_begun_anew():
    """As a controller does that does not remember what it did before it was lost."""
    b = failed_over(Builder().fault(3.0, 8.0), took=(1.0,), names=("detect",))
    again = failed_over(Builder(), took=(4.0, 5.0, 6.0))
    b.events = [e for e in b.events if e.t < ns(6)] + [e for e in again.events if e.t >= ns(7)]
    (found,) = ORDER(b.history(10))
    assert found.verdict is FAIL
    assert found.reason == "the step detect, told of at 4.000 s, was lost"


@given(st.lists(st.integers(0, 3), min_size=1, max_size=6))
def test_a_record_only_grows(lengths):
    """Against brute force: each telling begins with the one before."""
    steps = [
        {"step": name, "at": ns(4.0 + n)} for n, name in enumerate(("detect", "promote", "dns"))
    ]
    b = Builder().fault(3.0, 8.0)
    for n, length in enumerate([*lengths, 3]):
        b.status(7.5 + n * 0.1, "failover", data={"failovers": [{"steps": steps[:length]}]})
    (found,) = ORDER(b.history(10))
    told = [length for length in [*lengths, 3] if length]  # an empty record tells nothing
    assert (found.verdict is PASS) == (told == sorted(told))


def signed(sign, **told):
    return judged(replace(STEPS, signs=(sign,)), **told)[1]


PROMOTED = Sign(step="promote", node="db-2", field="accepting", equals=True)


def test_a_sign_at_the_time_of_the_record():
    assert signed(PROMOTED).verdict is PASS
    assert signed(Sign(step="detect", alert="LOST")).verdict is PASS


def test_recorded_before_it_was():
    found = signed(replace(PROMOTED, slack=0.5), took=(0.5, 1.0, 3.0))
    assert found.verdict is FAIL
    assert found.reason == "recorded at 4.000 s, and not yet so at 5.000 s"


def test_recorded_after_it_was():
    found = signed(replace(PROMOTED, slack=0.5), took=(0.5, 3.5, 3.6))
    assert found.verdict is FAIL
    assert "before it was recorded" in found.reason


def test_recorded_and_never_so():
    assert signed(Sign(step="detect", alert="NONE")).verdict is FAIL
    never = Sign(step="promote", node="db-2", field="accepting", equals=7)
    assert signed(never).verdict is FAIL


def test_what_nobody_looked_for_is_not_known():
    away = Sign(step="dns", domain="api.example.com", to=("lb-2",))
    found = signed(away)
    assert found.verdict is UNKNOWN
    assert found.reason == "it was never looked for after that"
