"""When backups are due and when they expire, over months, without taking one."""

from hypothesis import given
from hypothesis import strategies as st

from reference_impl.backup.catalogue import Backup
from reference_impl.backup.policy import Due, Schedule, due, expired, wal_floor
from reference_impl.clock import NS
from tests.reference_impl.backup.lab import DAY, EPOCH, HOUR, segment

HOURLY = Schedule(every=HOUR, keep=7 * DAY)
DAILY = Schedule(every=DAY, keep=90 * DAY)
steps = st.lists(st.floats(0, 5 * DAY, allow_nan=False), max_size=60)


def backup(taken, n=1, kind="hourly"):
    return Backup(
        kind=kind, id=str(taken), slot=0, taken=taken, at=taken, size=1, sha256="", timeline=1,
        start=0, end=0, start_segment=segment(n),
    )  # fmt: skip


def test_the_first_is_due_at_once_and_the_next_with_the_next_hour():
    slot = HOURLY.slot(EPOCH)
    assert due(HOURLY, None, EPOCH) == Due(slot, 0)
    assert due(HOURLY, slot, EPOCH + 3599 * NS) is None
    assert due(HOURLY, slot, EPOCH + 3600 * NS) == Due(slot + 1, 0)
    assert due(HOURLY, slot, EPOCH + 3 * 3600 * NS) == Due(slot + 3, 2)
    assert HOURLY.starts(slot) == EPOCH


@given(steps, st.sampled_from([HOURLY, DAILY]))
def test_every_slot_is_taken_or_told_as_missed_and_none_twice(moves, schedule):
    now, last, taken, missed = EPOCH, None, [], 0
    first = schedule.slot(now)
    for move in [0.0, *moves]:
        now += round(move * NS)
        if found := due(schedule, last, now):
            taken.append(found.slot)
            missed += found.missed
            last = found.slot
        assert due(schedule, last, now) is None
    assert taken == sorted(set(taken))
    assert len(taken) + missed == schedule.slot(now) - first + 1


@given(steps, st.sampled_from([HOURLY, DAILY]))
def test_none_goes_before_its_time_and_none_stays_behind_it(moves, schedule):
    now, kept = EPOCH, []
    for move in moves:
        now += round(move * NS)
        kept.append(backup(now))
        for gone in expired(schedule, kept, now):
            assert now - gone.taken >= schedule.keep * NS
            kept.remove(gone)
        assert all(now - each.taken < schedule.keep * NS for each in kept)


@given(st.integers(0, 400 * 24))
def test_the_newest_never_goes_however_old_it_is(hours):
    only = backup(EPOCH)
    assert expired(HOURLY, [only], EPOCH + hours * 3600 * NS) == []
    older = backup(EPOCH - NS)
    assert only not in expired(HOURLY, [only, older], EPOCH + hours * 3600 * NS)


def test_ninety_one_days_keep_ninety_dailies_and_a_week_of_hourlies():
    dailies, hourlies = [], []
    for hour in range(91 * 24):
        now = EPOCH + hour * 3600 * NS
        hourlies.append(backup(now))
        if hour % 24 == 0:
            dailies.append(backup(now))
        for kept, schedule in ((hourlies, HOURLY), (dailies, DAILY)):
            for gone in expired(schedule, kept, now):
                kept.remove(gone)
    assert (len(dailies), len(hourlies)) == (90, 168)


@given(st.lists(st.integers(1, 500), min_size=1), st.lists(st.integers(1, 500)))
def test_wal_is_kept_from_the_oldest_hourly_on(hourlies, dailies):
    kept = [[backup(0, n) for n in hourlies], [backup(0, n) for n in dailies]]
    assert wal_floor(kept) == segment(min(hourlies))[8:]


def test_without_hourlies_the_dailies_keep_it_and_without_any_all_is_kept():
    assert wal_floor([[], [backup(0, 5), backup(0, 3)]]) == segment(3)[8:]
    assert wal_floor([[], []]) is None
