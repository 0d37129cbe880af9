"""Leases: never two holders at a time, whatever is asked, lost or restarted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_impl.witness.leases import Leases

TTL = 5.0


def test_a_lease_is_kept_by_asking_and_free_when_it_has_run_out():
    leases = Leases()
    assert leases.ask("r", "a", 1, TTL, 0.0).granted
    assert leases.ask("r", "a", 1, TTL, 4.0).granted
    refused = leases.ask("r", "b", 2, TTL, 8.0)
    assert not refused.granted
    assert (refused.holder, refused.epoch, refused.left) == ("a", 1, pytest.approx(1.0))
    assert leases.ask("r", "b", 2, TTL, 9.0).granted
    assert not leases.ask("r", "a", 1, TTL, 9.1).granted, "its epoch is over"


def test_an_epoch_has_one_holder_for_ever():
    leases = Leases()
    leases.ask("r", "a", 1, TTL, 0.0)
    assert not leases.ask("r", "b", 1, TTL, 100.0).granted
    assert leases.ask("r", "a", 1, TTL, 101.0).granted, "nobody has taken over"


def test_let_go():
    leases = Leases()
    leases.ask("r", "a", 1, TTL, 0.0)
    leases.release("r", "b", 1, 1.0)
    assert not leases.ask("r", "b", 2, TTL, 1.0).granted
    leases.release("r", "a", 1, 1.0)
    assert leases.ask("r", "b", 2, TTL, 1.0).granted


def test_after_a_restart_all_of_it_is_assumed_to_be_left():
    before = Leases()
    before.ask("r", "a", 1, TTL, 0.0)
    after = Leases()
    after.load(before.book, 4.9)
    assert not after.ask("r", "b", 2, TTL, 9.8).granted
    assert after.ask("r", "b", 2, TTL, 9.9).granted


asks = st.tuples(
    st.sampled_from("abc"),
    st.integers(1, 6),
    st.floats(0, 3),  # time since the last
    st.sets(st.integers(0, 2)),  # the witnesses that are reached
    st.sampled_from([None, None, None, 0, 1, 2]),  # a witness that restarts first
)


@given(st.lists(asks, max_size=40))
def test_no_two_hold_a_majority_at_once(script):
    """Holders count their lease from before they asked; who has a majority then has it alone."""
    witnesses, now, held = [Leases(), Leases(), Leases()], 0.0, {}
    for holder, epoch, later, reached, restarts in script:
        now += later
        if restarts is not None:
            fresh = Leases()
            fresh.load(witnesses[restarts].book, now)
            witnesses[restarts] = fresh
        granted = sum(witnesses[n].ask("r", holder, epoch, TTL, now).granted for n in reached)
        if granted >= 2:
            others = {who for who, until in held.items() if until > now and who != (holder, epoch)}
            assert not others, f"{holder} in {epoch} beside {others} at {now}"
            held[holder, epoch] = now + TTL
