"""The store never goes back, whatever comes."""

from hypothesis import given
from hypothesis import strategies as st

from reference_impl.propagation.store import Store, replay
from reference_impl.propagation.types import Change, Snapshot

LOG = [
    Change(
        seq, f"o{seq % 2}", (seq + 1) // 2, f"k{seq % 3}", None if seq % 4 == 0 else {"n": seq}, 0
    )
    for seq in range(1, 31)
]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 30)), max_size=80))
def test_it_is_always_a_prefix_of_the_log(steps):
    store, at = Store(ring=7), 0
    heard = []
    store.listen(heard.append)
    for is_snapshot, n in steps:
        if is_snapshot:
            newer = n > at or not store.loaded
            assert store.replace(replay(LOG[:n])) is newer
        else:
            newer = n == at + 1
            assert n > 0 and store.apply(LOG[n - 1]) is newer or n == 0
        at = n if newer else at
        assert store.seq == at
        assert store.snapshot() == replay(LOG[:at])
        assert len(heard) == 0 or heard[-1].seq == at
        for since in range(at + 2):
            changes = store.changes_since(since, 3)
            assert changes is None or changes == LOG[since:at][:3]
    assert [one.seq for one in heard] == sorted({one.seq for one in heard})


def test_an_empty_platform_is_something_to_know():
    store = Store()
    assert not store.loaded
    assert store.replace(Snapshot(0, {}))
    assert store.loaded
    assert store.empty
    assert not store.replace(Snapshot(0, {}))


def test_a_snapshot_is_not_touched_by_later_changes():
    store = Store()
    store.apply(LOG[0])
    before = store.snapshot()
    store.apply(LOG[1])
    store.apply(LOG[2])
    assert before == replay(LOG[:1])
