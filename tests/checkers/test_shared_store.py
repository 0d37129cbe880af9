"""Workers that answer from one store: order, lag, torn answers, memory, replacement."""

from dataclasses import replace

import pytest
from build import Builder, ns
from hypothesis import given, settings
from hypothesis import strategies as st
from sound import SOUND, shared

from harness.checkers.shared_store import Answer, behind
from harness.history_io import Request
from harness.verdict import Verdict

PASS, FAIL, UNKNOWN = Verdict.PASS, Verdict.FAIL, Verdict.UNKNOWN
STORE = SOUND["shared_store"]()[0]
MEMORY = SOUND["shared_memory"]()[0]
REPLACED = SOUND["replacement"]()[0]


def judged(checker, b, end=10.0):
    return [(f.subject, f.verdict, f.value) for f in checker(b.history(end))]


def verdicts(checker, b, end=10.0):
    return {f.claim.partition(" ")[0] + " " + f.subject: f.verdict for f in checker(b.history(end))}


def test_sound():
    assert {v for _, v, _ in judged(STORE, shared(Builder()))} == {PASS}


def test_too_few_workers():
    found = judged(STORE, shared(Builder(), workers=2))
    assert found[0] == ("users", FAIL, 2.0)
    assert {v for _, v, _ in found[1:]} == {PASS}


def test_a_worker_with_a_copy_that_is_updated_late():
    found = judged(STORE, shared(Builder(), late=lambda worker: 0.7 if worker == 1 else 0.0))
    by_subject = {subject: verdict for subject, verdict, _ in found[1:]}
    assert by_subject == {"users": FAIL, "worker 0": PASS, "worker 1": FAIL, "worker 2": PASS}


def test_a_copy_that_is_late_for_a_moment_is_out_of_order_and_in_time():
    found = judged(STORE, shared(Builder(), late=lambda worker: 0.09 if worker == 1 else 0.0))
    by_subject = {subject: verdict for subject, verdict, _ in found[1:]}
    assert by_subject == {"users": FAIL, "worker 0": PASS, "worker 1": PASS, "worker 2": PASS}


def test_all_late_alike_is_one_store_that_is_late():
    found = judged(STORE, shared(Builder(), late=lambda _: 0.9))
    assert [v for _, v, _ in found] == [PASS, PASS, FAIL, FAIL, FAIL]


def test_without_updates_nothing_is_shown_of_their_order():
    b = Builder().probe("writer", "write").probe("users").write("writer", 0.1, 1, 1)
    for n in range(100):
        b.request(
            "users", 1 + n * 0.01, version=1, metadata={"worker": n % 3, "flag_version": 1}, value=1
        )
    assert dict(verdicts(STORE, b, 2.1))["no users"] is UNKNOWN


def test_a_torn_answer_fails():
    b = shared(Builder())
    b.request(
        "users", 9.995, key="b", version=90, value=89, metadata={"worker": 1, "flag_version": 90}
    )
    assert dict(verdicts(STORE, b))["no users"] is FAIL


def test_the_attempt_that_was_answered_counts_not_the_one_that_was_lost():
    """It was sent before the newer answer came; only its retry was sent after."""
    from harness.history import Attempt

    b = shared(Builder(), end=8.0)
    at = 8.5
    b.request("users", at, version=200, metadata={"worker": 0})
    lost = Attempt(ns(at - 0.1), ns(at + 0.2), "TIMEOUT")
    won = Attempt(ns(at + 0.2), ns(at + 0.21))
    b.request(
        "users", at - 0.1, took=0.31, version=199, metadata={"worker": 1}, attempts=[lost, won]
    )
    assert judged(STORE, b)[1][2] == 1.0


def answers(plain):
    made = []
    for n, (sent, took, position, key, of_key) in enumerate(plain):
        b = Builder().request("u", sent, key=key)
        request = Request(b.events[0], b.events[1])
        made.append(Answer(request, str(n % 3), sent, sent + took, position, of_key))
    return made


ANSWERS = st.lists(
    st.tuples(
        st.integers(0, 30),
        st.integers(0, 8),
        st.integers(0, 5),
        st.sampled_from("ab"),
        st.integers(-1, 5),
    ),
    max_size=25,
)


@settings(max_examples=400, deadline=None)
@given(ANSWERS)
def test_behind_as_brute_force_says(plain):
    made = answers(plain)
    wrong = {
        id(late)
        for late in made
        for early in made
        if early.done < late.sent
        and (
            early.position > late.position
            or (
                early.request.invoke.key == late.request.invoke.key
                and late.of_key >= 0
                and early.of_key > late.of_key
            )
        )
    }
    assert {id(each.answer) for each in behind(made)} == wrong


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3), st.lists(st.floats(0.0, 0.4), min_size=3, max_size=3))
def test_a_register_is_linearizable_however_it_is_read(updates, delays):
    """One store that takes effect at one moment of each request is never behind itself."""
    made = []
    for n in range(60):
        sent = n * 10
        took = round(20 * delays[n % 3]) + 1
        moment = sent + took // 2
        made.append((sent, took, moment // (50 // updates), "a", -1))
    assert behind(answers(made)) == []


# ------------------------------------------------------------------------------------------------------------ memory


def memory(b=None, after=(30, 10, 10), before=10, mib=20, pids=(1, 2, 3), error=""):
    b = b or Builder()
    b.phase(0, "before").phase(4, "loading").phase(6, "loaded")
    if mib:
        b.filled(5.0, mib)
    for n in range(6):
        b.processes(n * 0.5 + 0.1, pids, before)
        b.processes(6.1 + n * 0.5, pids, list(after)[: len(pids)], error=error)
    return b


@pytest.mark.parametrize(
    ("after", "verdict"),
    [
        ((30, 10, 10), PASS),
        ((48, 11, 10), PASS),
        ((30, 30, 30), FAIL),
        ((10.5, 10.5, 10.5), UNKNOWN),
    ],
)
def test_copies(after, verdict):
    ((_, found, value),) = judged(MEMORY, memory(after=after))
    assert found is verdict
    assert value == pytest.approx((sum(after) - 30) / 20)


@pytest.mark.parametrize(
    "more",
    [{"mib": 0}, {"pids": (1,), "after": (30,)}, {"after": (30, -1, 10)}, {"error": "elsewhere"}],
)
def test_what_was_not_seen_is_unknown(more):
    assert judged(MEMORY, memory(**more))[0][1] is UNKNOWN


def test_a_look_that_differs_much_is_in_the_error():
    b = memory(after=(51, 10, 10))
    assert judged(MEMORY, b)[0][1] is FAIL
    b.processes(7.35, (1, 2, 3), [30, 10, 10])
    assert judged(MEMORY, b)[0][1] is UNKNOWN


# ------------------------------------------------------------------------------------------------------- replacement


def crew(during, fault=True):
    b = Builder()
    if fault:
        b.fault(3.0, 8.0, name="worker_crash", label="crash")
    for n in range(80):
        t = n * 0.1 + 0.05
        b.processes(t, (1, 2, 3) if t < 3 else during(t))
    return b


@pytest.mark.parametrize(
    ("during", "verdict"),
    [
        (lambda t: (1, 2, 4) if t > 4 else (1, 2), PASS),
        (lambda t: (1, 2, 4) if t > 6 else (1, 2), FAIL),
        (lambda t: (1, 2), FAIL),
        (lambda t: (1, 2, 3), UNKNOWN),  # none was seen to be gone
        (lambda t: (4, 5, 6), FAIL),  # all began anew
    ],
)
def test_replaced(during, verdict):
    assert judged(REPLACED, crew(during))[0][1] is verdict


def test_no_fault_is_unknown():
    assert judged(REPLACED, crew(lambda t: (1, 2), fault=False))[0][1] is UNKNOWN


def test_processes_that_could_not_be_seen_are_unknown():
    b = crew(lambda t: (1, 2, 4)).processes(5.0, (), error="elsewhere")
    assert judged(REPLACED, b)[0][1] is UNKNOWN


def test_the_bound_is_what_it_is_judged_by():
    b = crew(lambda t: (1, 2, 4) if t > 4 else (1, 2))
    assert judged(replace(REPLACED, within=0.5), b)[0][1] is FAIL
