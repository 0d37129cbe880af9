from dataclasses import replace

import pytest
from build import Builder
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.checkers.stream import StreamOrder
from harness.verdict import Verdict

ORDER = StreamOrder(requirement="S1", probes=("sub",))
FULL = StreamOrder(requirement="S1", probes=("sub",), writes=("w",), p99=0.1)


def correct(cuts, snapshots, count=30):
    """What a correct server sends: (what, id) in order, reconnecting after the changes in `cuts`."""
    seen = [("connect", -1), ("open", -1), ("snapshot", 0)]
    n = 0
    while n < count:
        n += 1
        seen.append(("change", n))
        if n in cuts:
            seen += [("close", -1), ("connect", n), ("open", -1), ("heartbeat", n)]
            if n in snapshots:
                n = min(count, n + 2)
                seen.append(("snapshot", n))
    return seen


def history(seen, wrote=30):
    b = Builder().probe("sub", "subscribe").probe("w", "write")
    for n in range(1, wrote + 1):
        b.write("w", n * 0.1, n, n, key="a")
    for at, (what, n) in enumerate(seen):
        content = {"key": "a", "value": n} if what == "change" else {}
        b.stream(5 + at * 0.01, what, n, **content)
    return b.history(10)


CUTS = st.sets(st.integers(1, 29), max_size=5)


@settings(max_examples=100, deadline=None)
@given(CUTS, CUTS)
def test_a_correct_stream_passes(cuts, snapshots):
    order, complete = replace(FULL, p99=None)(history(correct(cuts, snapshots)))
    assert order.verdict is Verdict.PASS
    assert (
        order.figures["reconnections"]
        == len([c for c in correct(cuts, snapshots) if c[0] == "connect"]) - 1
    )
    assert complete.verdict is Verdict.PASS


@settings(max_examples=150, deadline=None)
@given(CUTS, st.integers(2, 29), st.sampled_from(["gap", "duplicate", "reorder"]), st.data())
def test_an_injected_error_fails(cuts, at, how, data):
    seen = correct(cuts, set())
    place = seen.index(("change", at))
    if how == "gap":
        del seen[place]
    elif how == "duplicate":
        later = data.draw(st.integers(place + 1, len(seen)))
        seen.insert(later, ("change", at))
    else:
        following = next(n for n in range(place + 1, len(seen)) if seen[n][0] == "change")
        seen[place], seen[following] = seen[following], seen[place]
    # The subscriber asks to resume from what it has, whatever was sent.
    position = -1
    for n, (what, number) in enumerate(seen):
        if what == "connect":
            seen[n] = (what, position)
        elif what in ("snapshot", "change"):
            position = max(position, number)
    assert ORDER(history(seen))[0].verdict is Verdict.FAIL


def verdict(*seen, checker=ORDER):
    return checker(history(list(seen)))[0].verdict


START = (("connect", -1), ("open", -1), ("snapshot", 5))


def test_small_cases():
    assert verdict(*START, ("change", 6)) is Verdict.PASS
    assert verdict(*START, ("change", 5)) is Verdict.FAIL
    assert verdict(*START, ("change", 7)) is Verdict.FAIL
    assert verdict(*START[:2], ("change", 7)) is Verdict.FAIL  # before any snapshot
    assert verdict(*START, ("change", 6), ("snapshot", 4)) is Verdict.FAIL  # goes back
    assert verdict(*START, ("change", 6), ("snapshot", 9), ("change", 10)) is Verdict.PASS
    assert verdict(*START) is Verdict.UNKNOWN  # no change


def test_resume_is_shown_only_by_reconnections():
    need = replace(ORDER, reconnections=1)
    assert verdict(*START, ("change", 6), checker=need) is Verdict.UNKNOWN
    again = (("connect", 6), ("open", -1), ("change", 7))
    assert verdict(*START, ("change", 6), *again, checker=need) is Verdict.PASS
    failed = (("connect", 6), ("close", -1))
    assert verdict(*START, ("change", 6), *failed, checker=need) is Verdict.UNKNOWN


def test_a_subscriber_that_asked_for_the_wrong_id_shows_nothing():
    again = (("connect", 3), ("open", -1), ("change", 7))
    assert verdict(*START, ("change", 6), *again) is Verdict.UNKNOWN


def test_writes_must_arrive_with_their_value():
    checker = replace(FULL, p99=None)
    cut = [s for s in correct(set(), set()) if s != ("change", 30)]
    assert checker(history(cut))[1].verdict is Verdict.FAIL
    b = Builder().probe("sub", "subscribe").probe("w", "write").write("w", 1, 7, 1, key="a")
    b.stream(0, "connect").stream(0, "snapshot", 0).stream(2, "change", 1, key="a", value=8)
    assert checker(b.history(10))[1].verdict is Verdict.FAIL
    assert checker(history(correct(set(), set()), wrote=0))[1].verdict is Verdict.UNKNOWN


def test_writes_just_before_the_end_are_left_out():
    b = (
        Builder()
        .probe("sub", "subscribe")
        .probe("w", "write")
        .write("w", 1, 1, 1, key="a")
        .write("w", 9.5, 2, 2)
    )
    b.stream(0, "connect").stream(0, "snapshot", 0).stream(2, "change", 1, key="a", value=1)
    assert replace(FULL, p99=None)(b.history(10))[1].verdict is Verdict.PASS
    assert replace(FULL, p99=None, settle=0.1)(b.history(10))[1].verdict is Verdict.FAIL


@pytest.mark.parametrize(("delay", "verdict"), [(0.05, Verdict.PASS), (0.15, Verdict.FAIL)])
@pytest.mark.parametrize("told", [True, False])
def test_delay_from_commit_or_from_acknowledgement(delay, verdict, told):
    b = Builder().probe("sub", "subscribe").probe("w", "write")
    b.stream(0, "connect").stream(0, "snapshot", 0)
    for n in range(1, 21):
        b.write("w", n * 0.1, n, n, took=0.0, key="a")
        b.stream(n * 0.1 + delay, "change", n, at=n * 0.1 if told else None, key="a", value=n)
    finding = FULL(b.history(10))[2]
    assert finding.value == pytest.approx(delay)
    assert finding.verdict is verdict
