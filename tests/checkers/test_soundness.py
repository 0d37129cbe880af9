"""Every checker, on a history it passes, spoiled one way at a time: none may still pass."""

from dataclasses import replace

import msgspec
import pytest
from build import Builder, ns, steady, without
from sound import END, SOUND

from harness.checkers import CHECKERS
from harness.checkers.soundness import fault_doubts, probe_doubts
from harness.history import (
    Alert,
    Call,
    Complete,
    End,
    FaultEvent,
    Invoke,
    LoadEnd,
    Objects,
    Probe,
    ProbeEnd,
    Processes,
    Recommendation,
    Status,
    Stream,
    Wire,
)
from harness.history_io import History, Window
from harness.verdict import Verdict

# The probes whose requests each checker rests on, and for which the time of sending matters.
TIMED = {
    *("availability", "names", "propagation", "reconvergence", "recovery", "shedding"),
    *("staleness", "untouched"),
}
SENDING = TIMED | {
    *("answers", "autoscaling", "breaker", "durability", "hot_spot", "levels", "placement"),
    *("prewarm", "route", "shared_store"),
}
# A write that was never answered is a case of its own for these; the others need every answer.
NEED_ANSWERS = SENDING - {"durability", "placement"}


def verdicts(name, history):
    checker, _ = SOUND[name]()
    found = checker(history)
    assert found
    for finding in found:
        assert finding.check == name
        assert finding.requirement == checker.requirement
        assert finding.claim
    return [f.verdict for f in found]


def sound(name, **more):
    return SOUND[name]()[1].history(END.get(name, 10.0), **more)


def changed(history, kind, **fields):
    """All events of a type with some fields replaced; a field may be a function of the event."""
    events = []
    for event in history.events:
        if isinstance(event, kind):
            new = {k: v(event) if callable(v) else v for k, v in fields.items()}
            events.append(msgspec.structs.replace(event, **new))
        else:
            events.append(event)
    return History(history.header, events)


def test_every_checker_is_covered():
    assert set(SOUND) == set(CHECKERS)


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_history_passes(name):
    checker, b = SOUND[name]()
    found = checker(b.history(END.get(name, 10.0)))
    assert [(f.verdict, f.reason, f.claim) for f in found if f.verdict is not Verdict.PASS] == []


@pytest.mark.parametrize("name", SOUND)
def test_cut_short(name):
    assert set(verdicts(name, sound(name, cut=True))) == {Verdict.UNKNOWN}


@pytest.mark.parametrize("name", SOUND)
def test_ended_by_an_error(name):
    assert set(verdicts(name, sound(name, error="the cluster died"))) == {Verdict.UNKNOWN}


@pytest.mark.parametrize("name", SOUND)
def test_nothing_seen_never_passes(name):
    history = without(
        sound(name),
        lambda e: isinstance(
            e,
            Invoke
            | Complete
            | Stream
            | Wire
            | Status
            | Alert
            | Objects
            | Call
            | Processes
            | Recommendation,
        ),
    )
    got = verdicts(name, history)
    if name == "alert":  # that none comes before the fault was watched, and holds
        assert got == [Verdict.FAIL, Verdict.PASS]
    else:
        assert Verdict.PASS not in got


@pytest.mark.parametrize("name", SOUND)
def test_an_empty_history_never_passes(name):
    header = sound(name).header
    assert Verdict.PASS not in verdicts(name, History(header, [End(t=ns(10))]))


LOST_LOADS = {
    "it never ended": [],
    "a worker was lost": [LoadEnd(t=ns(9), start=ns(1), probe="more", error="worker 1 ended")],
    "it sent nothing": [LoadEnd(t=ns(9), start=ns(1), probe="more")],
}


@pytest.mark.parametrize("name", SOUND)
@pytest.mark.parametrize("how", LOST_LOADS)
def test_beside_a_load_that_was_lost_nothing_was_measured_under_it(name, how):
    history = sound(name)
    began = Probe(t=ns(1), name="more", kind="load")
    spoiled = History(history.header, [*history.events, began, *LOST_LOADS[how]])
    assert set(verdicts(name, spoiled)) == {Verdict.UNKNOWN}


SPOILED_FAULTS = {
    "did not bite": lambda h: changed(h, FaultEvent, bit=lambda e: e.bit and e.stage != "verified"),
    "never verified": lambda h: without(
        h, lambda e: isinstance(e, FaultEvent) and e.stage == "verified"
    ),
    "failed": lambda h: History(
        h.header, [*h.events, FaultEvent(t=ns(3.5), fault=1, name="crash", stage="failed")]
    ),
}


@pytest.mark.parametrize("name", SOUND)
@pytest.mark.parametrize("how", SPOILED_FAULTS)
def test_a_fault_not_shown(name, how):
    got = verdicts(name, SPOILED_FAULTS[how](sound(name)))
    if name == "alert":
        assert got == [Verdict.UNKNOWN, Verdict.PASS]
    else:
        assert set(got) == {Verdict.UNKNOWN}


@pytest.mark.parametrize(
    "name",
    sorted(
        set(SOUND)
        - {
            *("recovery", "reconvergence", "reconnect_spread", "alert", "called", "recommended"),
            *("status_field", "names", "replacement"),
        }
    ),
)
def test_a_heal_not_shown_where_the_check_looks_past_it(name):
    history = changed(sound(name), FaultEvent, bit=lambda e: e.bit and e.stage != "heal-verified")
    assert set(verdicts(name, history)) == {Verdict.UNKNOWN}


@pytest.mark.parametrize("name", sorted(SENDING))
def test_skipped(name):
    history = changed(sound(name), ProbeEnd, skipped=3)
    assert Verdict.PASS not in verdicts(name, history) or name == "levels"
    assert Verdict.UNKNOWN in verdicts(name, history)


@pytest.mark.parametrize("name", sorted(SENDING))
def test_a_count_that_disagrees(name):
    assert Verdict.UNKNOWN in verdicts(name, sound(name, miscount=1))


@pytest.mark.parametrize("name", sorted(SENDING))
@pytest.mark.parametrize("kind", [Probe, ProbeEnd])
def test_a_probe_that_never_began_or_ended(name, kind):
    assert Verdict.UNKNOWN in verdicts(name, without(sound(name), lambda e: isinstance(e, kind)))


@pytest.mark.parametrize("name", sorted(TIMED))
def test_late(name):
    def later(event):
        return event.t + ns(0.06) if event.kind == "evaluate" else event.t

    history = changed(sound(name), Invoke, t=later)
    assert set(verdicts(name, history)) == {Verdict.UNKNOWN}


@pytest.mark.parametrize("name", sorted(NEED_ANSWERS))
def test_no_answers(name):
    got = verdicts(name, without(sound(name), lambda e: isinstance(e, Complete)))
    assert Verdict.UNKNOWN in got
    if name != "levels":  # the nodes' own records stand without any client
        assert Verdict.PASS not in got


@pytest.mark.parametrize("name", sorted(NEED_ANSWERS))
def test_one_answer_missing(name):
    history = sound(name)
    at = ns(1 if name == "availability" else 4)
    victim = next(
        e for e in history.events if isinstance(e, Complete) and e.kind == "evaluate" and e.t > at
    )
    assert Verdict.UNKNOWN in verdicts(name, without(history, lambda e: e is victim))


@pytest.mark.parametrize("name", sorted(TIMED))
def test_a_hole_in_the_schedule(name):
    history = sound(name)
    holes = {
        (r.invoke.probe, r.invoke.op) for r in history.requests if ns(4) <= r.invoke.due < ns(4.5)
    }
    gone = without(history, lambda e: isinstance(e, Invoke | Complete) and (e.probe, e.op) in holes)
    sent = {n: len(p.requests) for n, p in gone.probes.items()}
    gone = changed(gone, ProbeEnd, sent=lambda e: sent[e.name])
    assert set(verdicts(name, gone)) == {Verdict.UNKNOWN}


def test_the_words_of_lateness():
    b = Builder().probe("p", interval=0.1, budget=0.05)
    steady(b, "p", 0, 1, 0.1).request("p", 1.0, late=0.08).request("p", 1.1, late=0.06)
    doubts = probe_doubts(b.history(1.2), "p", Window(0, ns(1.2)))
    assert doubts == [
        "2 of 12 requests of p were sent later than the budget of 50 ms, the worst 80 ms late at 1.080 s"
    ]
    assert probe_doubts(b.history(1.2), "p", Window(0, ns(1.2)), timely=False) == []
    assert probe_doubts(b.history(1.2), "p", Window(0, ns(1.0))) == []


@pytest.mark.parametrize(
    ("late", "by", "sound"), [(2, 0.06, True), (2, 0.4, True), (2, 0.6, False), (3, 0.06, False)]
)
def test_a_few_late_ones_are_in_the_error_more_are_another_schedule(late, by, sound):
    b = Builder().probe("p", interval=0.01, budget=0.05)
    for n in range(200):
        b.request("p", n * 0.01, late=by if n < late else 0.0)
    doubts = probe_doubts(b.history(2), "p", Window(0, ns(2)))
    assert doubts == [] if sound else len(doubts) == 1


def test_a_probe_that_stopped_early_does_not_speak_for_the_window():
    b = steady(Builder().probe("p", interval=0.1), "p", 0, 1, 0.1)
    assert "was sending for" in probe_doubts(b.history(5), "p", Window(0, ns(5)))[0]


def test_only_faults_and_heals_before_the_end_of_the_window_matter():
    b = Builder().fault(1, 5, healed=False).fault(7, n=2, bit=False)
    history = b.history(9)
    assert fault_doubts(history, ns(5)) == []
    assert "healed" in fault_doubts(history, ns(6))[0]
    assert len(fault_doubts(history, ns(8))) == 2


def test_a_broken_promise_is_still_told_where_the_verdict_is_unknown():
    checker, b = SOUND["recovery"]()
    finding = replace(checker, rto=0.1)(b.history(10, skipped={"users": 1}))[0]
    assert finding.verdict is Verdict.UNKNOWN
    assert "skipped 1" in finding.reason
    assert "otherwise: 0.301 s is not <= 0.1 s" in finding.reason
