"""Which changes of the zone are taken, and that what is saved comes back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_impl.dns.records import (
    ConflictError,
    InvalidRecordError,
    RecordData,
    Zone,
    canonical,
    put,
    remove,
)
from reference_impl.dns.store import FileZoneStore, MemoryZoneStore

A = RecordData(addresses=["127.1.2.3"], ttl=5)
NAME = "api.flags.example.com"


def test_each_change_has_a_version_of_its_own():
    zone = put(put(Zone(), NAME, A), "other.example.com", A)
    assert (zone.serial, zone.records[NAME].version) == (2, 1)
    zone = put(zone, "API.Flags.Example.com.", RecordData(addresses=["127.9.9.9"], ttl=1))
    assert (zone.serial, zone.records[NAME].version, len(zone.records)) == (3, 3, 2)
    assert zone.records[NAME].addresses == ["127.9.9.9"]


def test_a_writer_changes_only_what_it_knows():
    zone = put(Zone(), NAME, A, expected=0)
    with pytest.raises(ConflictError) as caught:
        put(zone, NAME, A, expected=0)
    assert caught.value.version == 1
    zone = put(zone, NAME, A, expected=1)
    with pytest.raises(ConflictError):
        remove(zone, NAME, expected=1)
    zone = remove(zone, NAME, expected=2)
    assert (zone.serial, zone.records) == (3, {})
    assert remove(zone, NAME) is zone


def test_an_older_epoch_does_not_replace_a_newer_whatever_version_it_knows():
    def of(epoch):
        return RecordData(addresses=["127.0.0.1"], ttl=1, epoch=epoch)

    zone = put(put(Zone(), NAME, of(3)), NAME, of(3), expected=1)
    for epoch in (0, 2):
        with pytest.raises(ConflictError):
            put(zone, NAME, of(epoch))
        with pytest.raises(ConflictError):
            put(zone, NAME, of(epoch), expected=2)
    assert put(zone, NAME, of(4)).records[NAME].epoch == 4


@pytest.mark.parametrize("name", ["", ".", "a..b", "x" * 64 + ".com", ".".join(["abcdefgh"] * 32)])
def test_what_is_no_name(name):
    with pytest.raises(InvalidRecordError):
        canonical(name)


def test_what_is_no_address():
    bad = RecordData(addresses=["127.0.0.1"], ttl=1, groups={"europe": ["nowhere"]})
    with pytest.raises(InvalidRecordError, match="nowhere"):
        put(Zone(), NAME, bad)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.none() | st.integers(0, 6)), max_size=12))
def test_of_two_writers_with_the_same_version_one_wins(steps):
    """Compare and set, against a model: a version is taken once, and the serial only rises."""
    zone, versions = Zone(), {}
    for name, expected in steps:
        before = zone.serial
        fits = expected is None or expected == versions.get(name, 0)
        try:
            zone = put(zone, f"{name}.example.com", A, expected)
        except ConflictError as error:
            assert not fits
            assert error.version == versions.get(name, 0)
            assert zone.serial == before
        else:
            assert fits
            assert zone.serial == before + 1
            versions[name] = zone.serial


@pytest.fixture(params=["file", "memory"])
def store(request, tmp_path):
    return FileZoneStore(tmp_path / "zone.json") if request.param == "file" else MemoryZoneStore()


def test_a_store_gives_back_what_was_saved_last(store):
    assert store.load() is None
    first = put(
        Zone(), NAME, RecordData(addresses=["127.0.0.1"], ttl=0, groups={"eu": ["1.2.3.4"]})
    )
    store.save(first)
    assert store.load() == first
    store.save(second := put(first, NAME, A))
    assert store.load() == second


def test_a_file_that_is_not_a_zone_is_told_and_kept(tmp_path):
    path = tmp_path / "zone.json"
    path.write_text('{"serial": 1, "rec')
    with pytest.raises(ValueError, match=r"zone\.json"):
        FileZoneStore(path).load()
    assert path.exists()


def test_half_a_save_is_none(tmp_path, monkeypatch):
    store = FileZoneStore(tmp_path / "zone.json")
    store.save(zone := put(Zone(), NAME, A))

    def full(_):
        raise OSError("No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="space"):
        store.save(put(zone, NAME, A))
    assert store.load() == zone
