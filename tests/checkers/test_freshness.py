"""Staleness and propagation against models that look at every write for every answer."""

import random
from dataclasses import replace

import msgspec
import pytest
from build import Builder, ns
from hypothesis import given, settings
from hypothesis import strategies as st
from sound import polled

from harness.checkers.propagation import Propagation
from harness.checkers.staleness import Cadence, Staleness
from harness.checkers.writes import Freshness, key_logs, writes_of
from harness.verdict import Verdict

PASS, FAIL, UNKNOWN = Verdict.PASS, Verdict.FAIL, Verdict.UNKNOWN
STALE = Staleness(requirement="P3", probe="users", bound=1.0)
SPREAD = Propagation(requirement="S1", probes=("users",), p99=1.0)

WRITES = st.lists(
    st.tuples(
        st.integers(0, 900),
        st.integers(1, 80),
        st.sampled_from(["ok", "ok", "unknown"]),
        st.sampled_from("ab"),
    ),
    min_size=1,
    max_size=25,
)
ANSWERS = st.lists(
    st.tuples(
        st.integers(0, 999), st.integers(0, 25), st.sampled_from("ab"), st.sampled_from("xy")
    ),
    max_size=40,
)


def history(writes, answers):
    """Log positions are shuffled against the times: writes in flight together, at their worst."""
    b = Builder().probe("w", "write").probe("users")
    position = list(range(1, len(writes) + 1))
    random.Random(len(writes)).shuffle(position)
    for n, (t, took, outcome, key) in enumerate(sorted(writes)):
        b.write(
            "w", t / 100, n + 1, position[n] if outcome == "ok" else -1, took / 1000, outcome, key
        )
    for t, shown, key, node in sorted(answers):
        b.request("users", t / 100, 0.003, key=key, node=node, metadata={"flag_version": shown})
    return b.history(10)


@settings(max_examples=150, deadline=None)
@given(WRITES, ANSWERS)
def test_ages_as_brute_force_says(writes, answers):
    run = history(writes, answers)
    written = writes_of(run, ())
    fresh = Freshness(key_logs(written))
    for request in run.requests:
        if request.invoke.kind != "evaluate":
            continue
        shown = request.complete.metadata["flag_version"]
        mine = [w for w in written if w.key == request.invoke.key]
        missing = [w.done for w in mine if w.outcome == "ok" and w.position > shown]
        wanted = max([0, *(request.invoke.t - t for t in missing)]) if mine else None
        assert fresh.age(request) == wanted


@settings(max_examples=150, deadline=None)
@given(WRITES, ANSWERS)
def test_propagation_as_brute_force_says(writes, answers):
    run = history(writes, answers)
    written = [w for w in writes_of(run, ()) if w.outcome == "ok"]
    written_keys = {w.key for w in writes_of(run, ())}
    for finding in SPREAD(run):
        delays = []
        for write in written:
            mine = [
                r
                for r in run.requests
                if r.invoke.kind == "evaluate"
                and r.complete.node == finding.subject
                and r.invoke.key == write.key
            ]
            showing = [
                r.complete.t for r in mine if r.complete.metadata["flag_version"] >= write.position
            ]
            if showing:
                delays.append(max(0, min(showing) - write.done))
            elif mine and max(r.invoke.t for r in mine) - write.done > ns(1.0):
                delays.append(max(r.invoke.t for r in mine) - write.done)
        assert finding.figures.get("n", 0) == len(delays) or not written_keys
        if delays:
            assert finding.figures["max"] == pytest.approx(max(delays) / 1e9)
            assert 0 <= finding.error <= finding.value


def test_the_age_is_that_of_the_oldest_acknowledgement_whatever_its_place_in_the_log():
    b = Builder().write("w", 1.0, 1, 1, took=2.0).write("w", 1.5, 2, 2, took=0.5)
    b.request("users", 5.0, metadata={"flag_version": 0})
    run = b.history(10, ends=False)
    assert Freshness(key_logs(writes_of(run, ()))).age(run.ops["users", 0]) == ns(3.0)


def only(findings):
    (finding,) = findings
    return finding


@settings(max_examples=20, deadline=None)
@given(st.floats(0.5, 3.0), st.floats(0.0, 1.0))
def test_a_poller_is_as_stale_as_its_interval_and_lag(every, lag):
    run = polled(Builder(), every, lag).history(10)
    finding = only(replace(STALE, bound=every + lag + 0.1)(run))
    assert finding.verdict is PASS
    # Just before it polls again the oldest write it lacks is about as old; between samples a little was missed.
    assert finding.value == pytest.approx(every + lag, abs=0.2)
    assert only(replace(STALE, bound=every + lag - 0.4)(run)).verdict is FAIL
    delay = only(replace(SPREAD, p99=every + lag + 0.1)(run))
    assert delay.verdict is PASS
    assert delay.value == pytest.approx(every + lag, abs=0.25)
    assert only(replace(SPREAD, p99=every + lag - 0.4)(run)).verdict is FAIL


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(1.9, 2.1, PASS), (2.2, 2.5, FAIL), (1.0, 1.8, FAIL), (0.5, 2.0, PASS)],
)
def test_cadence(low, high, verdict):
    checker = replace(STALE, bound=3.0, cadence=Cadence(min=low, max=high))
    age, rhythm = checker(polled(Builder()).history(10))
    assert age.verdict is PASS
    assert rhythm.verdict is verdict


def test_cadence_needs_writes_all_the_time():
    b = Builder().probe("w", "write").probe("users")
    for t, value in ((1, 1), (3, 2), (9, 3)):
        b.write("w", t, value, value)
    for n in range(100):
        seen = sum(n * 0.1 > t + 0.1 for t in (1, 3, 9))
        b.request("users", n * 0.1, node="x", version=seen, metadata={"flag_version": seen})
    checker = replace(STALE, cadence=Cadence(min=1.9, max=2.1))
    assert checker(b.history(10))[1].verdict is UNKNOWN


def test_only_answers_at_the_level_count():
    b = Builder().probe("w", "write").probe("users").write("w", 1, 1, 1)
    for n in range(100):
        b.request(
            "users", n * 0.1, node="x", level="L1" if n < 25 else "L2", metadata={"flag_version": 0}
        )
    run = b.history(10)
    assert only(replace(STALE, level="L1", bound=2)(run)).verdict is PASS
    assert (
        only(replace(STALE, level="L2", bound=2)(run)).verdict is UNKNOWN
    )  # nothing was written then
    assert only(replace(STALE, bound=2)(run)).verdict is FAIL
    assert only(replace(STALE, level="L3")(run)).verdict is UNKNOWN


def test_values_tell_positions_where_the_platform_does_not():
    b = Builder().probe("w", "write").probe("users").write("w", 1, 1, 10).write("w", 2, 2, 20)
    b.write("w", 3, 3, outcome="unknown").write("w", 4, 4, 40)
    log = key_logs(writes_of(b.history(10), ()))["k"]

    def position(value):
        run = Builder().request("u", 1, value=value).history(2)
        return log.position(run.requests[0].complete)

    assert [position(v) for v in (0, 1, 2, 3, 4, True)] == [-1, 10, 20, 20, 40, -1]


def test_a_node_that_was_not_watched_in_between_is_not_blamed():
    """Traffic was elsewhere for 5 s: when it came back the write showed at once."""
    b = Builder().probe("w", "write").probe("users").write("w", 2, 1, 1)
    b.request("users", 1.9, node="x", metadata={"flag_version": 0})
    b.request("users", 7.0, node="x", metadata={"flag_version": 1})
    assert only(SPREAD(b.history(10))).verdict is UNKNOWN


def test_a_write_never_shown_fails():
    b = Builder().probe("w", "write").probe("users").write("w", 2, 1, 1)
    for n in range(90):
        b.request("users", n * 0.1, node="x", metadata={"flag_version": 0})
    found = only(SPREAD(b.history(10)))
    assert found.verdict is FAIL
    assert found.figures["never_shown"] == 1


def test_named_nodes_must_answer():
    run = polled(Builder()).history(10)
    found = {f.subject: f.verdict for f in replace(SPREAD, p99=3.0, nodes=("pop-a", "pop-z"))(run)}
    assert found == {"pop-a": PASS, "pop-z": UNKNOWN}


def test_of_a_cache_only_what_it_answered_itself_is_looked_at():
    b = Builder().probe("w", "write", interval=0.1).probe("users", interval=0.1)
    for n in range(50):
        b.write("w", n * 0.1, n + 1, n + 1)
        shown = n + 1 if n % 2 else max(0, n - 20)
        b.request(
            "users", n * 0.1 + 0.05, node="x", cached=n % 2 == 0, metadata={"flag_version": shown}
        )
    kept = replace(STALE, cached=True)
    assert [f.verdict for f in kept(b.history(5))] == [FAIL]
    assert [f.verdict for f in replace(kept, bound=2.2)(b.history(5))] == [PASS]
    b.events = [replace_cached(e) for e in b.events]
    assert [f.verdict for f in kept(b.history(5))] == [UNKNOWN]


def replace_cached(event):
    return msgspec.structs.replace(event, cached=False) if hasattr(event, "cached") else event
