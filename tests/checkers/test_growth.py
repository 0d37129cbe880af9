"""Growth: cost of a PoP, of the origin, connections, and changes that are missing."""

from dataclasses import replace

import msgspec
from build import without
from sound import SOUND, growing

from harness.history import Crowd, Processes, Status
from harness.history_io import History
from harness.verdict import Verdict

PASS, FAIL, UNKNOWN = Verdict.PASS, Verdict.FAIL, Verdict.UNKNOWN
CHECK, _ = SOUND["growth"]()
END = 45.0


def judged(b, **more):
    """Verdicts on a PoP's cost, the origin's, its connections, delivery."""
    return [finding.verdict for finding in replace(CHECK, **more)(b.history(END))]


def test_a_fixed_part_and_a_part_for_each():
    found = CHECK(growing().history(END))
    assert [one.verdict for one in found] == [PASS] * 4
    # 1 ms + 100 × 40 µs for 100, 1 ms + 400 × 40 µs for 400
    assert abs(found[0].value - (17 / 400) / (5 / 100)) < 0.01
    assert abs(found[1].value - 1.0) < 0.01


def test_a_cost_that_grows_with_the_square():
    assert judged(growing(hub=lambda pops: pops * pops * 1e-7)) == [FAIL, PASS, PASS, PASS]
    assert judged(growing(hub=lambda pops: pops * 1e-5)) == [PASS] * 4


def test_the_bound_is_a_quarter_more():
    assert judged(growing(hub=lambda pops: pops * 1e-5 * (1.24 if pops > 100 else 1)))[0] is PASS
    assert judged(growing(hub=lambda pops: pops * 1e-5 * (1.27 if pops > 100 else 1)))[0] is FAIL


def test_an_origin_that_notices():
    assert judged(growing(origin=lambda pops: pops * 1e-5)) == [PASS, FAIL, PASS, PASS]


def test_connections_at_the_origin():
    b = growing()
    b.status(13.0, "stream-1", data={"subscribers": 5})
    assert judged(b) == [PASS, PASS, FAIL, PASS]
    assert judged(growing(), connections="unheard_of") == [PASS, PASS, UNKNOWN, PASS]


def changed(test, **fields):
    history = growing().history(END)
    events = [
        msgspec.structs.replace(e, **fields) if isinstance(e, Crowd) and test(e) else e
        for e in history.events
    ]
    return [one.verdict for one in CHECK(History(history.header, events))]


def test_changes_that_are_missing_or_come_twice():
    assert changed(lambda e: e.streams == 100, gaps=1) == [PASS, PASS, PASS, FAIL]
    assert changed(lambda e: e.streams == 100, repeats=1) == [PASS, PASS, PASS, FAIL]
    assert changed(lambda e: e.streams == 100, first=300) == [PASS, PASS, PASS, FAIL]
    assert changed(lambda e: e.streams == 100, closes=10) == [PASS] * 4  # they were told


def test_what_was_not_seen_is_unknown():
    for kind in (Crowd, Processes):
        history = without(growing().history(END), lambda e, kind=kind: isinstance(e, kind))
        assert {one.verdict for one in CHECK(history)} == {UNKNOWN}, kind
    history = without(growing().history(END), lambda e: isinstance(e, Status))
    assert [one.verdict for one in CHECK(history)] == [PASS, PASS, UNKNOWN, PASS]
    assert judged(growing(), large="elsewhere") == [UNKNOWN] * 4
    assert judged(growing(many=250)) == [UNKNOWN] * 4  # not three times as many
    assert judged(growing(), writes=("other",)) == [UNKNOWN] * 4


def test_a_process_that_was_replaced_tells_nothing():
    b = growing()
    b.processes(5.0, (99,), node="hub-1", cpu=0.1)
    assert set(judged(b)) == {UNKNOWN}


def test_windows_that_disagree_widen_the_error():
    """The machine slowed down half way: few and many alternate, so the ratio stays, and its error says how far pairs lie apart."""
    calls = iter(range(10_000))
    b = growing(hub=lambda pops: pops * 1e-5 * (2 if next(calls) > 79 else 1))
    found = CHECK(b.history(END))[0]
    assert found.verdict is PASS
    assert abs(found.value - 1.0) < 0.05
    assert found.error > 0.5
