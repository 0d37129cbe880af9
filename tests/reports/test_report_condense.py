from __future__ import annotations

import itertools
from collections import Counter

import pytest

from harness.history import (
    Alert,
    Complete,
    End,
    FaultEvent,
    Invoke,
    Phase,
    Probe,
    ProbeEnd,
    Resolved,
    Status,
    Stream,
    Transition,
    Wire,
)
from harness.history_io import History
from harness.units import NS
from reports import condense
from reports.condense import MOST_NOTES, percentile
from reports.timeline import NO_ANSWER, PROPAGATION
from tests.reports.report_builder import MS, WALL, busy_history, request, write_history


@pytest.fixture
def condensed(tmp_path):
    numbers = itertools.count()
    return lambda events: condense.read(write_history(tmp_path / str(next(numbers)), events))


def levels(read, node):
    return [(s.name, s.start, s.end) for s in read.levels[node]]


def test_every_request_is_counted_once_and_agrees_with_the_history_read_whole(tmp_path):
    path = write_history(tmp_path, busy_history(seconds=12, rate=60))
    read, whole = condense.read(path), History.read(path)
    sent, lost = Counter(), Counter()
    for row in read.latencies:
        sent[row.kind] += row.count
        lost[row.kind] += row.errors + row.unanswered
    requests = [
        (r.invoke.kind, r.complete is not None and r.complete.outcome == "ok")
        for r in whole.requests
    ]
    for kind in ("evaluate", "write"):
        assert sent[kind] == sum(k == kind for k, _ in requests)
        assert lost[kind] == sum(k == kind and not ok for k, ok in requests)
    assert read.events == len(whole.events)
    assert [(p.name, p.start, p.end) for p in read.phases] == [
        (w.name, w.start, w.end) for w in whole.phases
    ]
    good = sorted(r.latency for r in whole.requests if r.invoke.kind == "write" and r.latency)
    assert max(row.worst for row in read.latencies if row.kind == "write") == good[-1]


def test_latency_runs_from_due_and_belongs_to_the_phase_in_which_it_was_due(condensed):
    read = condensed([
        Phase(t=0, name="a"),
        Phase(t=NS, name="b"),
        *request(1, NS + 5 * MS, 2, late=10 * MS),
        End(t=2 * NS),
    ])  # fmt: skip
    (row,) = read.latencies
    assert (row.phase, row.count, row.worst) == ("a", 1, 12 * MS)


def test_an_answer_that_never_came_is_an_error(condensed):
    read = condensed([
        Phase(t=0, name="a"),
        Invoke(t=5, op=1, probe="p", kind="evaluate", due=5),
        *request(2, 6, 1, probe="p", outcome="fail", error="CONNECTION_REFUSED"),
        End(t=NS),
    ])  # fmt: skip
    (row,) = read.latencies
    assert (row.count, row.errors, row.unanswered, row.worst) == (2, 1, 1, None)
    assert row.by_error == {"CONNECTION_REFUSED": 1}
    assert sum(read.series[0].errors) == 2


def test_ops_of_two_probes_are_told_apart(condensed):
    read = condensed([
        Phase(t=0, name="a"),
        *request(1, 0, 5, probe="p"),
        *request(1, 0, 9, probe="q"),
        End(t=NS),
    ])  # fmt: skip
    assert (read.latencies[0].count, read.latencies[0].worst) == (2, 9 * MS)


def test_percentiles_are_nearest_rank_and_need_enough_samples():
    ranked = list(range(1, 1001))
    assert [percentile(ranked, s) for s in (0.5, 0.9, 0.99, 0.999)] == [500, 900, 990, 999]
    assert percentile(ranked[:99], 0.99) is None
    assert percentile(ranked[:100], 0.99) == 99
    assert percentile([5], 0.99, least=1) == 5
    assert percentile([], 0.5, least=1) is None


def test_levels_take_their_times_from_the_transitions_that_the_node_recorded(condensed):
    step = Transition(n=1, t=950, source="HEALTHY", to="DEGRADED_L1")
    read = condensed([
        Status(t=500, node="pop", ok=True, level="HEALTHY", boot="a"),
        Status(t=1500, node="pop", ok=True, level="DEGRADED_L1", boot="a", transitions=[step]),
        Status(t=1700, node="pop", ok=True, level="DEGRADED_L1", boot="a", transitions=[step]),
        Status(t=1800, node="pop", ok=False, error="CONNECTION_REFUSED"),
        End(t=2000),
    ])  # fmt: skip
    assert levels(read, "pop") == [
        ("HEALTHY", 500, 950), ("DEGRADED_L1", 950, 1800), (NO_ANSWER, 1800, 2000),
    ]  # fmt: skip


def test_levels_of_answers_stand_in_where_nobody_asked_for_the_status(condensed):
    read = condensed([
        *request(1, 10, 0, level="HEALTHY"), *request(2, 500, 0, level="EMERGENCY"), End(t=1000),
    ])  # fmt: skip
    assert levels(read, "pop-us") == [("HEALTHY", 10, 500), ("EMERGENCY", 500, 1000)]


def test_a_node_without_levels_has_no_lane(condensed):
    assert condensed([Status(t=5, node="hub", ok=True), End(t=10)]).levels == {}


def test_lag_is_what_was_acknowledged_before_the_question_less_what_the_answer_had(condensed):
    read = condensed([
        *request(1, 0, 0.001, probe="w", kind="write", node="", version=7),
        Status(t=MS, node="pop", ok=True, version=5),
        # asked before 9 was acknowledged: 9 can't be missed by it
        Invoke(t=2 * MS, op=1, probe="u", kind="evaluate", due=2 * MS),
        *request(2, 3 * MS, 0.001, probe="w", kind="write", node="", version=9),
        Complete(t=4 * MS, op=1, probe="u", kind="evaluate", outcome="ok", node="eu", version=7),
        Stream(t=5 * MS, probe="sub", what="heartbeat", id=9),
        End(t=NS),
    ])  # fmt: skip
    assert {node: max(v for v in line if v is not None) for node, line in read.lag.items()} == {
        "pop": 2, "eu": 0, "sub": 0,
    }  # fmt: skip


def test_propagation_runs_from_the_commit_to_the_receipt(condensed):
    read = condensed([
        Phase(t=0, name="a"),
        *(Stream(t=n * MS + 40, probe="s", what="change", id=n, at=WALL + n * MS) for n in range(5)),
        End(t=NS),
    ])  # fmt: skip
    (row,) = read.latencies
    assert (row.kind, row.count, row.p50, row.worst) == (PROPAGATION, 5, 40, 40)


def test_a_fault_keeps_its_whole_life(condensed):
    def stage(t, name, **more):
        return FaultEvent(t=t, fault=3, name="pause", stage=name, targets=["db"], **more)

    read = condensed([
        stage(10, "inject"), stage(20, "injected"), stage(30, "verified", bit=False, seen="still answers"),
        stage(40, "heal"), stage(50, "healed"), stage(60, "heal-verified", bit=True), End(t=100),
    ])  # fmt: skip
    (band,) = read.faults
    assert (band.label, band.start, band.verified, band.healed) == ("pause db", 10, 30, 50)
    assert (band.bit, band.seen, band.heal_shown) == (False, "still answers", True)


def test_wire_calls_retries_and_failures(condensed):
    def call(n, status=200, error="", **headers):
        return Wire(t=n * NS // 10, link="a->b", n=n, connection=1, method="GET", path="/",
                    status=status, error=error, headers=headers)  # fmt: skip

    read = condensed([
        call(1), call(2, **{"x-attempt": "2"}), call(3, 503), call(4, 0, "caller-closed"), call(5, 404),
        End(t=NS),
    ])  # fmt: skip
    (lane,) = read.wires
    assert (lane.calls, lane.retries, lane.bad) == (5, 1, 2)


def test_probes_that_ran_late_or_lost_count_are_not_sound(condensed):
    read = condensed([
        Probe(t=0, name="late", kind="evaluate", budget=5 * MS),
        Probe(t=0, name="lost", kind="evaluate"),
        Probe(t=0, name="good", kind="evaluate", budget=20 * MS),
        *(e for n, probe in enumerate(("late", "lost", "good"))
          for e in request(n, 50 * MS, 1, probe=probe, late=10 * MS)),
        ProbeEnd(t=NS - 1, name="lost", sent=2),
        ProbeEnd(t=NS - 1, name="good", sent=1),
        End(t=NS),
    ])  # fmt: skip
    assert {p.name: (p.sound, p.late, p.latest) for p in read.probes} == {
        "good": (True, 0, 10 * MS), "late": (False, 1, 10 * MS), "lost": (False, 0, 10 * MS),
    }  # fmt: skip


def test_alerts_beyond_the_limit_are_counted(condensed):
    read = condensed([*(Alert(t=n, name="A") for n in range(MOST_NOTES + 7)), End(t=1000)])
    assert (len(read.alerts), read.left_out) == (MOST_NOTES, 7)


def test_events_outside_the_timeline_do_not_break_it(condensed):
    read = condensed([
        *request(1, -5 * MS, 1), *request(2, 20 * NS, 1), Alert(t=-3, name="early"), End(t=NS),
    ])  # fmt: skip
    assert sum(read.series[0].sent) == 1  # what was due before the beginning is not drawn
    assert sum(row.count for row in read.latencies) == 2


def test_an_hour_has_no_more_bins_than_a_minute_may_have(condensed):
    assert condensed([End(t=3600 * NS)]).bins <= condense.MOST_BINS
    assert condensed([End(t=1)]).bins == 1


def test_start_up_is_not_drawn_but_counted(condensed):
    read = condensed([
        *request(1, NS, 1, outcome="fail", error="CONNECTION_REFUSED"),
        Status(t=NS, node="pop", ok=True, level="HEALTHY"),
        Phase(t=20 * NS, name="baseline"),
        *request(2, 21 * NS, 1),
        End(t=30 * NS),
    ])  # fmt: skip
    assert (read.begin, read.duration, read.span_of(0)[0], read.span_of(read.bins - 1)[1]) == (
        20 * NS, 30 * NS, 20 * NS, 30 * NS,
    )  # fmt: skip
    (series,) = read.series
    assert (sum(series.sent), sum(series.errors)) == (1, 0)
    assert [(r.phase, r.errors) for r in read.latencies] == [("", 1), ("baseline", 0)]


def test_an_answer_that_says_no_is_not_an_outage(condensed):
    read = condensed([
        Phase(t=0, name="a"),
        *request(1, 5, 1, outcome="fail", error="HTTP_404"),
        *request(2, 6, 1, outcome="fail", error="HTTP_500"),
        End(t=NS),
    ])  # fmt: skip
    assert (sum(read.series[0].refused), sum(read.series[0].errors)) == (1, 1)
    assert read.latencies[0].errors == 2


def test_a_name_is_noted_where_it_leads_elsewhere(condensed):
    def learnt(t, *nodes, probe="users"):
        return Resolved(
            t=t * NS, asked=t * NS, probe=probe, name="api.example.com", nodes=list(nodes)
        )

    events = [
        learnt(1, "lb-us"), learnt(2, "lb-us"), learnt(3, "lb-eu"), learnt(3, "lb-us", probe="b"),
        learnt(4), learnt(5, "lb-eu"), End(t=6 * NS),
    ]  # fmt: skip
    notes = condensed(events).notes
    assert [(n.t // NS, n.text, n.source) for n in notes] == [
        (3, "api.example.com leads to lb-eu", "users"),
        (4, "api.example.com leads to nowhere", "users"),
        (5, "api.example.com leads to lb-eu", "users"),
    ]
