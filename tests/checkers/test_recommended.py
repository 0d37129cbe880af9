"""Recommendations: in time, not before, of true values, and taken back."""

from dataclasses import replace

import pytest
from build import Builder, ns
from sound import SOUND

from harness.checkers.recommended import Recommended
from harness.history import Note, ProbeEnd
from harness.verdict import Verdict

PASS, FAIL, UNKNOWN = Verdict.PASS, Verdict.FAIL, Verdict.UNKNOWN
CROWD, _ = SOUND["recommended"]()


def feed(*entries, watched=True):
    b = Builder().phase(0, "begin").fault(3.0, 6.0, label="crowd")
    if watched:
        b.probe("feed", "recommendations")
    for t, *more in entries:
        b.recommends(t, *more)
    return b


def judged(b, checker=CROWD, end=10.0, **more):
    return [finding.verdict for finding in replace(checker, **more)(b.history(end))]


GONE = (7.0, "withdrawn", 10.0)


def test_in_time_and_not_before():
    assert judged(feed((4.0,), GONE)) == [PASS, PASS]
    assert judged(feed((5.1,), GONE)) == [FAIL, PASS]  # late
    assert judged(feed((2.9,), GONE)) == [FAIL, PASS]  # before
    assert judged(feed((1.0,), (1.5, "withdrawn", 1.0), (4.0,), GONE)) == [FAIL, FAIL]
    assert judged(feed()) == [FAIL, UNKNOWN]


def test_of_another_node_kind_or_metric_is_none():
    for other in ({"node": "stream-2"}, {"kind": "add_hub"}, {"metric": "cpu"}):
        b = feed()
        b.recommends(4.0, **other)
        assert judged(b) == [FAIL, UNKNOWN], other


def test_its_own_figures_must_say_so():
    assert judged(feed((4.0, "raised", 19.0), GONE)) == [FAIL, PASS]
    b = feed()
    b.recommends(4.0, threshold=5.0).recommends(*GONE)
    assert judged(b) == [FAIL, PASS]


def test_withdrawn_in_time_and_not_sooner():
    assert judged(feed((4.0,), (8.1, "withdrawn", 1.0))) == [PASS, FAIL]
    assert judged(feed((4.0,), (5.0, "withdrawn", 1.0), (5.5,), GONE)) == [PASS, FAIL]
    assert judged(feed((4.0,))) == [PASS, FAIL]
    assert judged(feed((4.0,)), withdrawn=None) == [PASS]


def test_unread_is_unknown():
    assert judged(feed(watched=False)) == [UNKNOWN, UNKNOWN]
    assert judged(feed((4.0,), watched=False)) == [UNKNOWN, UNKNOWN]


def test_where_the_watch_ended_early_nobody_can_tell():
    assert judged(feed(), end=4.0) == [UNKNOWN, UNKNOWN]


def test_a_fault_that_is_not_there():
    [finding] = replace(CROWD, fault="other")(feed((4.0,)).history(10.0))
    assert finding.verdict is UNKNOWN
    assert "no fault other" in finding.reason


# -- flags that are filled in --------------------------------------------------------------------------------------

STORAGE = Recommended(
    requirement="S4", kind="add_shard", node="db", metric="storage", threshold=30e6, phase="filling", within=3.0
)  # fmt: skip


def filled(*times, at=5.0):
    b = Builder().phase(0, "begin").phase(3.0, "filling").probe("feed", "recommendations")
    if at:
        b.filled(at, 40)
    for t in times:
        b.recommends(t, kind="add_shard", node="db", metric="storage", value=41e6, threshold=30e6)
    return b


def test_flags_cross_it_somewhere_between_the_first_and_the_last():
    assert judged(filled(4.0), STORAGE) == [PASS]
    assert judged(filled(7.9), STORAGE) == [PASS]
    assert judged(filled(8.1), STORAGE) == [FAIL]
    assert judged(filled(2.9), STORAGE) == [FAIL]
    assert judged(filled(), STORAGE) == [FAIL]
    assert judged(filled(4.0, at=None), STORAGE) == [UNKNOWN]
    assert judged(filled(4.0), STORAGE, phase="other") == [UNKNOWN]


# -- seen from outside ---------------------------------------------------------------------------------------------

CPU = replace(CROWD, metric="cpu", threshold=0.5, withdrawn=None)
MEMORY = replace(CPU, metric="memory", limit=100 << 20)


def looked(metric, before, after, step=0.5):
    b = Builder().phase(0, "begin").fault(3.0, 6.0, label="crowd").probe("feed", "recommendations")
    cpu = 0.0
    for n in range(20):
        share = before if n * step < 3.0 else after
        memory = share * 100 if metric == "memory" else 1
        b.processes(n * step, (7,), memory, node="stream-1", cpu=cpu)
        cpu += share * step if metric == "cpu" else 0.001
    return b.recommends(4.5, metric=metric, value=0.9, threshold=0.5)


@pytest.mark.parametrize("checker", [CPU, MEMORY], ids=lambda checker: checker.metric)
def test_what_the_harness_sees_of_processes_must_agree(checker):
    assert judged(looked(checker.metric, 0.1, 0.9), checker) == [PASS]
    assert judged(looked(checker.metric, 0.1, 0.4), checker) == [UNKNOWN]  # it never crossed
    assert judged(looked(checker.metric, 0.8, 0.9), checker) == [UNKNOWN]  # it had before
    assert judged(feed(), checker) == [UNKNOWN]  # nobody looked


# -- never ---------------------------------------------------------------------------------------------------------

NEVER = Recommended(requirement="S4", kind="*", node="stream-2", metric="*", never=True)


def test_what_nothing_crosses_is_never_recommended():
    b = feed((4.0,), GONE)
    assert judged(b, NEVER) == [PASS]
    b.recommends(5.0, node="stream-2", metric="memory")
    assert judged(b, NEVER) == [FAIL]
    assert judged(feed(watched=False), NEVER) == [UNKNOWN]
    silent = feed().add(Note(t=1, text="feed: TIMEOUT", source="feed"))
    assert judged(silent, NEVER) == [UNKNOWN]
    silent.add(Note(t=2, text="feed answers again", source="feed"))
    assert judged(silent, NEVER) == [PASS]


def test_probes_that_end_together_end_one_after_the_other():
    def ending(at):
        b = feed().probe("status", "status")
        return b.add(ProbeEnd(t=ns(at), name="feed")).add(ProbeEnd(t=ns(10.0), name="status"))

    assert [f.verdict for f in NEVER(ending(9.5).history(10.1, ends=False))] == [PASS]
    assert [f.verdict for f in NEVER(ending(7.0).history(10.1, ends=False))] == [UNKNOWN]


def test_a_latency_that_may_be_the_machines():
    slow = {"kind": "add_hub", "node": "stream-2", "metric": "latency_p99_ms", "threshold": 100.0}
    b = feed()
    b.recommends(2.0, value=180.0, **slow)
    assert judged(b, NEVER) == [FAIL]
    b.stall(1.0, 0.2)
    assert judged(b, NEVER) == [UNKNOWN]


def test_what_is_wrong_is_said():
    with pytest.raises(ValueError, match="one of them"):
        replace(CROWD, never=True)
    with pytest.raises(ValueError, match="one of them"):
        replace(CROWD, fault="")
    with pytest.raises(ValueError, match="more than 0"):
        replace(CROWD, threshold=0)
