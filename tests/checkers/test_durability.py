import random

import pytest
from build import Builder
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.checkers.durability import Durability
from harness.verdict import Verdict

RPO = Durability(requirement="D3", writes=("w",), fault="crash")
LOOSE = Durability(requirement="M2", writes=("w",), rpo=60.0)


def simulate(seed, lose, uncertain, keys="abc"):
    """A store with one log that loses its last `lose` entries in a crash at 3 s. Returns the history and what is lost."""
    rng = random.Random(seed)
    b = Builder().probe("w", "write", interval=0.1)
    b.fault(3.0, 6.0)
    log, lost = [], []
    for n in range(80):
        t = n * 0.1
        if n == 31:
            cut = len(log) - lose
            lost = [entry for entry in log[cut:] if entry[3]]
            del log[cut:]
        number = n + 1
        key = rng.choice(keys)
        kind = rng.random()
        if kind > uncertain:
            log.append((key, number, t + 0.002, True))
            b.write("w", t, number, len(log), key=key)
        elif kind > uncertain / 3:
            # After the crash none is done: it could take a lost one's position, and nothing would tell.
            if rng.random() < 0.5 and n < 31:
                log.append((key, number, t, False))
            b.write("w", t, number, outcome="unknown", took=0.05, key=key)
        else:
            b.write("w", t, number, outcome="fail", key=key)
    state = {key: value for key, value, _, _ in log}
    for key in keys:
        b.read(9.0, state.get(key), key)
    return b.history(10), lost


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 20))
def test_exactly_what_a_crash_lost_is_found(seed, lose):
    history, lost = simulate(seed, lose, 0.0)
    (finding,) = RPO(history)
    assert finding.kind == "rpo"
    assert finding.figures["lost"] == len(lost)
    assert finding.verdict is (Verdict.FAIL if lost else Verdict.PASS)
    if lost:
        until = max(3.0, *(entry[2] for entry in lost))
        assert finding.value == pytest.approx(until - min(entry[2] for entry in lost))


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 20))
def test_writes_without_an_answer_never_raise_a_false_alarm(seed, lose):
    history, lost = simulate(seed, lose, 0.4)
    (finding,) = RPO(history)
    # Acknowledged writes follow each crash here, so that the log itself gives every loss away.
    assert finding.figures["lost"] == len(lost)
    assert finding.verdict is (Verdict.FAIL if lost else Verdict.PASS)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 20))
def test_a_loss_within_the_bound_passes_and_is_told(seed, lose):
    history, lost = simulate(seed, lose, 0.0)
    (finding,) = LOOSE(history)
    assert finding.verdict is Verdict.PASS
    assert finding.value > 0 or len({e[2] for e in lost}) == 1


def two_writes(**second):
    b = Builder().probe("w", "write").fault(3.0, 6.0)
    return b.write("w", 1.0, 1, 1).write("w", 2.0, 2, **({"version": 2} | second))


def verdict(b, checker=RPO):
    (finding,) = checker(b.history(10))
    return finding.verdict


def test_each_kind_of_last_read():
    ok, fail, unknown = Verdict.PASS, Verdict.FAIL, Verdict.UNKNOWN
    assert verdict(two_writes().read(9, 2)) is ok
    assert verdict(two_writes().read(9, 1)) is fail
    assert verdict(two_writes().read(9, None)) is fail
    assert verdict(two_writes().read(9, 99)) is fail  # nobody wrote it
    assert verdict(two_writes().read(9, True)) is fail  # True is not 1
    assert verdict(two_writes()) is unknown
    assert verdict(two_writes().read(9, None, outcome="unknown")) is unknown
    assert verdict(two_writes().read(1.5, 1)) is unknown  # before the last write


def test_unknown_writes_may_be_there_or_not():
    for value in (1, 2):
        assert verdict(two_writes(outcome="unknown").read(9, value)) is Verdict.PASS


def test_an_older_write_without_an_answer_that_shows_last():
    """It may have been done late, over a later acknowledged one, or that one is lost."""

    def history(**read):
        b = Builder().probe("w", "write").fault(3.0, 6.0)
        b.write("w", 0.5, 1, outcome="unknown").write("w", 1.0, 2, 1)
        return b.read(9, 1, **read)

    assert verdict(history()) is Verdict.UNKNOWN
    assert verdict(history(metadata={"flag_version": 2})) is Verdict.PASS
    assert verdict(history(metadata={"flag_version": 0})) is Verdict.FAIL


def test_a_failed_write_must_not_appear():
    b = two_writes(outcome="fail").read(9, 2)
    (finding,) = RPO(b.history(10))
    assert finding.verdict is Verdict.FAIL
    assert finding.figures["invented"] == 1


def test_an_invented_value_fails_whatever_the_rpo():
    assert verdict(two_writes().read(9, 99), LOOSE) is Verdict.FAIL


def test_back_to_what_was_there_before_the_first_write_is_a_loss_not_an_invention():
    b = two_writes().read(0.5, 0).read(9, 0)
    (finding,) = LOOSE(b.history(10))
    assert finding.figures["invented"] == 0
    assert finding.figures["lost"] == 2
    assert finding.value == pytest.approx(1.998)
    assert finding.verdict is Verdict.PASS


def test_writes_in_flight_together_have_the_order_of_the_log():
    b = Builder().probe("w", "write").fault(3.0, 6.0)
    b.write("w", 1.0, 1, 2, took=0.5).write("w", 1.1, 2, 1, took=0.1)
    assert verdict(b.read(9, 1)) is Verdict.PASS
    b = Builder().probe("w", "write").fault(3.0, 6.0)
    b.write("w", 1.0, 1, 2, took=0.5).write("w", 1.1, 2, 1, took=0.1)
    assert verdict(b.read(9, 2)) is Verdict.FAIL


def test_without_positions_overlapping_writes_may_have_either_order():
    for value in (1, 2):
        b = Builder().probe("w", "write").fault(3.0, 6.0)
        b.write("w", 1.0, 1, took=0.5).write("w", 1.1, 2, took=0.1)
        assert verdict(b.read(9, value)) is Verdict.PASS


def test_one_log_position_given_to_two_writes():
    def history():
        b = Builder().probe("w", "write").fault(3.0, 6.0)
        b.write("w", 1.0, 1, 7, took=0.5, key="a").write("w", 1.1, 2, 7, took=0.1, key="b")
        return b.read(9, 1, "a").read(9, 2, "b")

    assert verdict(history()) is Verdict.FAIL
    sharded = Durability(requirement="D4", writes=("w",), one_log=False)
    assert verdict(history(), sharded) is Verdict.PASS


def test_a_loss_hidden_by_a_later_write_is_found_by_the_log():
    b = Builder().probe("w", "write").fault(3.0, 6.0)
    b.write("w", 2.0, 1, 5).write("w", 7.0, 2, 5).read(9, 2)
    (finding,) = RPO(b.history(10))
    assert finding.verdict is Verdict.FAIL
    assert finding.value == pytest.approx(0.998)


def test_nothing_to_lose_is_unknown():
    b = Builder().probe("w", "write").fault(3.0, 6.0).write("w", 7.0, 1, 1).read(9, 1)
    assert verdict(b) is Verdict.UNKNOWN
    b = (
        Builder()
        .probe("w", "write")
        .fault(3.0, 6.0)
        .write("w", 1.0, 1, outcome="fail")
        .read(9, None)
    )
    assert verdict(b) is Verdict.UNKNOWN


def test_values_written_twice_can_not_be_told_apart():
    b = (
        Builder()
        .probe("w", "write")
        .fault(3.0, 6.0)
        .write("w", 1, 1, 1)
        .write("w", 2, 1, 2)
        .read(9, 1)
    )
    assert verdict(b) is Verdict.UNKNOWN


def test_versions_never_go_back_on_a_node():
    checker = Durability(requirement="S1", writes=("w",), evaluations=("users",))

    def history(*answers):
        b = two_writes().read(9, 2).probe("users")
        for n, (node, version, took) in enumerate(answers):
            b.request("users", 4 + n * 0.1, took, node=node, version=version)
        return checker(b.history(10))[1].verdict

    assert history(("x", 1, 0.01), ("x", 2, 0.01), ("y", 1, 0.01)) is Verdict.PASS
    assert history(("x", 2, 0.01), ("x", 1, 0.01)) is Verdict.FAIL
    assert (
        history(("x", 2, 0.15), ("x", 1, 0.01)) is Verdict.PASS
    )  # asked for before the newer one came
    assert history(("x", -1, 0.01)) is Verdict.UNKNOWN
