"""Clients that follow a name: against a brute force that tries every moment, and case by case."""

from dataclasses import replace

import pytest
from build import Builder, steady
from hypothesis import given, settings
from hypothesis import strategies as st
from sound import SOUND

from harness.checkers.names import Names
from harness.history import Stall
from harness.history_io import History
from harness.verdict import Verdict

PASS, FAIL, UNKNOWN = Verdict.PASS, Verdict.FAIL, Verdict.UNKNOWN
US, EU = "lb-us", "lb-eu"
MOVE = Names(requirement="M2", domain="api.example.com", to=(EU,), within=2.0)
START, HEAL, END = 3.0, 8.0, 10.0


def clients(**events):
    """Each client: (time, nodes) of what it learns; it sends at 100/s."""
    b = Builder().phase(0, "before").phase(START, "changed").fault(START, HEAL)
    for name, learnt in events.items():
        b.probe(name, interval=0.01, budget=0.05)
        steady(b, name, 0, END, 0.01)
        for t, nodes in learnt:
            b.resolved(t, *nodes, probe=name)
    return b


def judged(check=MOVE, end=END, **events):
    (finding,) = check(clients(**events).history(end))
    return finding


NODES = st.sampled_from([(US,), (EU,), (US, EU), (EU, EU), (), ("",)])
LEARNT = st.lists(
    st.tuples(st.integers(31, 79), NODES), min_size=1, max_size=6, unique_by=lambda e: e[0]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(LEARNT, min_size=1, max_size=3))
def test_against_every_moment(many):
    events = {
        f"users-{n}": [(1.0, (US,)), *((t / 10, nodes) for t, nodes in sorted(learnt))]
        for n, learnt in enumerate(many)
    }
    finding = judged(**events)

    def well_led_from(moment):
        """Whether every client has been led to EU by then, and to nothing else until the heal."""
        for learnt in events.values():
            known = [nodes for t, nodes in learnt if t <= moment][-1:]
            later = [nodes for t, nodes in learnt if moment < t < HEAL]
            if not all(nodes and set(nodes) == {EU} for nodes in known + later):
                return False
        return True

    moments = sorted({t for learnt in events.values() for t, _ in learnt if t >= START})
    moved = next((t for t in moments if well_led_from(t)), None)
    assert finding.value == pytest.approx((moved or HEAL) - START)
    late = moved is None or moved - START > 2.0 + finding.error
    near = moved is not None and 2.0 < moved - START <= 2.0 + finding.error
    assert finding.verdict is (UNKNOWN if near else FAIL if late else PASS)
    assert finding.figures["clients"] == len(many)


def test_the_last_client_counts():
    before = (2.5, (US,))
    assert judged(a=[before, (3.5, (EU,))], b=[before, (4.5, (EU,))]).value == pytest.approx(1.5)
    assert judged(a=[before, (3.5, (EU,))], b=[before, (6.5, (EU,))]).verdict is FAIL
    one = replace(MOVE, probes=("a",))
    assert judged(one, a=[before, (3.5, (EU,))], b=[before, (6.5, (EU,))]).verdict is PASS


def test_a_move_that_a_standstill_of_the_machine_made_late():
    late = clients(a=[(2.5, (US,)), (5.5, (EU,))]).history(END)
    assert MOVE(late)[0].verdict is FAIL
    for ended, verdict in ((5.0, UNKNOWN), (9.0, FAIL)):
        stall = Stall(t=round(ended * 1e9), lasted=10**9)
        assert MOVE(History(late.header, [*late.events, stall]))[0].verdict is verdict


def test_the_way_back_comes_after_the_heal():
    assert judged(a=[(2.5, (US,)), (3.5, (EU,)), (8.5, (US,))]).verdict is PASS
    assert judged(a=[(2.5, (US,)), (3.5, (EU,)), (7.5, (US,))]).verdict is FAIL


def test_who_was_there_all_along_shows_nothing():
    assert judged(a=[(2.5, (EU,)), (3.5, (EU,))]).verdict is UNKNOWN
    assert "led to lb-eu before" in judged(a=[(2.5, (EU,)), (3.5, (EU,))]).reason
    assert judged(a=[(3.5, (EU,))]).verdict is UNKNOWN


def test_nobody_looked_it_up():
    assert judged(a=[]).verdict is UNKNOWN
    other = replace(MOVE, domain="other.example.com")
    assert judged(other, a=[(2.5, (US,)), (3.5, (EU,))]).verdict is UNKNOWN
    # One that only set flags up is no client.
    b = Builder().fault(START, HEAL).resolved(1, US, probe="seed").resolved(4, EU, probe="seed")
    assert MOVE(b.history(END))[0].verdict is UNKNOWN


def unmoved(ttl, **more):
    b = clients(a=[]).resolved(2.5, US, probe="a", ttl=ttl)
    return replace(MOVE, **more)(b.history(END))[0]


def test_an_answer_that_holds_too_long_is_the_platforms_fault():
    assert unmoved(ttl=300.0).verdict is FAIL
    assert "last led to lb-us" in unmoved(ttl=300.0).reason
    assert unmoved(ttl=300.0, within=20.0).verdict is UNKNOWN  # nobody watched for so long
    assert unmoved(ttl=1.0).verdict is UNKNOWN  # it should have asked again
    assert "no more" in unmoved(ttl=1.0).reason


def test_what_is_used_beyond_its_ttl_still_leads_to_the_old():
    b = clients(a=[(2.5, (US,))])
    for n in range(5):
        b.resolved(3.5 + n, US, probe="a", stale=True, error="TIMEOUT")
    (finding,) = MOVE(b.history(END))
    assert finding.verdict is FAIL
    assert "TIMEOUT" in finding.reason


def test_a_phase_instead_of_a_fault():
    in_phase = replace(MOVE, phase="changed")
    assert judged(in_phase, a=[(2.5, (US,)), (3.5, (EU,))]).verdict is PASS
    assert judged(in_phase, a=[(2.5, (US,)), (3.5, (EU,)), (8.5, (US,))]).verdict is FAIL
    assert judged(replace(MOVE, phase="x"), a=[(2.5, (US,))]).verdict is UNKNOWN
    assert judged(replace(MOVE, fault="x"), a=[(2.5, (US,))]).verdict is UNKNOWN
    with pytest.raises(ValueError, match="not both"):
        replace(MOVE, fault="crash", phase="changed")
    with pytest.raises(ValueError, match="at least one"):
        replace(MOVE, to=())


def test_it_is_in_the_set_of_sound_histories():
    checker, b = SOUND["names"]()
    assert checker(b.history(END))[0].value == pytest.approx(1.5)
