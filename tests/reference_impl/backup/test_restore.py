"""What a restore chooses: the newest backup that is whole, from whichever location has it, and the WAL behind it."""

import asyncio
import gzip
import hashlib

import msgspec
import pytest

from reference_impl.backup.catalogue import Backup
from reference_impl.backup.restore import RestoreError, restore
from reference_impl.objectstore.memory import MemoryObjectStore
from reference_impl.resilience.errors import TIMEOUT
from tests.reference_impl.backup.lab import EPOCH, SEGMENT, FakePrograms, segment


def wal(n, written=SEGMENT):
    return (bytes([n + 1]) * written).ljust(SEGMENT, b"\0")


class Lab:
    def __init__(self, folder):
        self.us, self.eu = MemoryObjectStore("us"), MemoryObjectStore("eu")
        self.data, self.programs = folder / "data", FakePrograms()

    async def backup(self, n, *stores, kind="hourly"):
        body = f"backup {n}".encode()
        made = Backup(
            kind=kind, id=f"2026-{n:03}", slot=n, taken=EPOCH + n, at=EPOCH + n, size=len(body),
            sha256=hashlib.sha256(body).hexdigest(), timeline=1, start=n * SEGMENT,
            end=n * SEGMENT + 1, start_segment=segment(n),
        )  # fmt: skip
        for store in stores:
            await store.put(made.key, body)
            await store.put(made.entry, msgspec.json.encode(made))
        return made

    async def wal(self, store, name, body):
        await store.put(f"wal/{name}.gz", gzip.compress(body))

    async def restore(self, until=None):
        return await restore([self.eu, self.us], self.data, self.programs, until)

    @property
    def content(self):
        return (self.data / "content").read_text()

    @property
    def staged(self):
        folder = self.data.with_name("data-wal")
        return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def on_lab(tmp_path):
    return lambda test: asyncio.run(test(Lab(tmp_path)))


def test_the_newest_is_taken_with_all_wal_from_its_start(on_lab):
    async def test(lab):
        for n in (2, 4, 10):
            await lab.backup(n, lab.eu)
        for n in range(8, 13):
            await lab.wal(lab.eu, segment(n), wal(n))
        await lab.wal(lab.eu, f"{segment(13)}.partial", wal(13, 500))
        await lab.wal(lab.eu, "00000002.history", b"history")
        point = await lab.restore()
        assert lab.content == "backup 10"
        assert set(lab.staged) == {segment(n) for n in (10, 11, 12, 13)} | {"00000002.history"}
        assert (point.wal_end, point.piece, point.passed) == (segment(13), True, [])
        assert (lab.data / "recovery.signal").exists()
        config = (lab.data / "postgresql.auto.conf").read_text()
        assert f"""restore_command = 'cp "{lab.data}-wal/%f" "%p"'\n""" in config

    on_lab(test)


def test_a_damaged_one_is_passed_over_and_said(on_lab):
    async def test(lab):
        await lab.backup(1, lab.eu)
        newest = await lab.backup(2, lab.eu)
        lab.eu.damaged.add(newest.key)
        point = await lab.restore()
        assert lab.content == "backup 1"
        ((store, key),) = [(each.store, each.key) for each in point.passed]
        assert (store, key) == ("eu", newest.entry)

    on_lab(test)


def test_bytes_that_are_not_those_that_were_verified_are_not_used(on_lab):
    async def test(lab):
        await lab.backup(1, lab.eu)
        newest = await lab.backup(2, lab.eu, lab.us)
        await lab.eu.put(newest.key, b"something else")
        await lab.restore()
        assert lab.content == "backup 2"  # the other location's

    on_lab(test)


def test_a_base_backup_that_does_not_verify_is_not_used(on_lab):
    async def test(lab):
        await lab.backup(1, lab.eu)
        lab.programs.failing.add("verify")
        with pytest.raises(RestoreError, match="verify failed with 1"):
            await lab.restore()
        assert not lab.data.exists()

    on_lab(test)


def test_an_entry_that_cannot_be_read_is_passed_over(on_lab):
    async def test(lab):
        await lab.backup(1, lab.eu)
        newest = await lab.backup(2, lab.eu)
        await lab.eu.put(newest.entry, b"{")
        point = await lab.restore()
        assert lab.content == "backup 1"
        assert point.passed[0].reason.startswith("INVALID")

    on_lab(test)


def test_one_location_is_enough(on_lab):
    async def test(lab):
        await lab.backup(1, lab.eu, lab.us)
        await lab.wal(lab.us, segment(1), wal(1))
        lab.eu.broken = TIMEOUT
        point = await lab.restore()
        assert point.store == "us"
        assert set(lab.staged) == {segment(1)}

    on_lab(test)


def test_wal_is_put_together_from_all_locations(on_lab):
    """A damaged segment is taken from elsewhere; of two pieces the longer; a piece only where there is no whole."""

    async def test(lab):
        await lab.backup(1, lab.eu)
        for store in (lab.eu, lab.us):
            await lab.wal(store, segment(1), wal(1))
        lab.eu.damaged.add(f"wal/{segment(1)}.gz")
        await lab.wal(lab.eu, f"{segment(2)}.partial", wal(2, 10))
        await lab.wal(lab.us, segment(2), wal(2))
        await lab.wal(lab.eu, f"{segment(3)}.partial", wal(3, 10))
        await lab.wal(lab.us, f"{segment(3)}.partial", wal(3, 20))
        point = await lab.restore()
        assert lab.staged == {segment(1): wal(1), segment(2): wal(2), segment(3): wal(3, 20)}
        assert [each.store for each in point.passed] == ["eu"]

    on_lab(test)


def test_what_comes_behind_a_gap_is_not_counted(on_lab):
    async def test(lab):
        await lab.backup(1, lab.eu)
        for n in (1, 2, 4):
            await lab.wal(lab.eu, segment(n), wal(n))
        point = await lab.restore()
        assert (point.wal_end, point.piece) == (segment(2), False)

    on_lab(test)


def test_up_to_a_time_an_older_one_is_taken(on_lab):
    async def test(lab):
        await lab.backup(1, lab.eu)
        await lab.backup(9, lab.eu)
        await lab.restore(until=EPOCH + 5)
        assert lab.content == "backup 1"
        config = (lab.data / "postgresql.auto.conf").read_text()
        assert "recovery_target_time = '2027-01-15 08:00:00" in config

    on_lab(test)


def test_what_is_there_already_is_not_overwritten(on_lab):
    async def test(lab):
        await lab.backup(1, lab.eu)
        lab.data.mkdir()
        (lab.data / "PG_VERSION").write_text("15")
        with pytest.raises(RestoreError, match="data is not free"):
            await lab.restore()
        assert (lab.data / "PG_VERSION").read_text() == "15"

    on_lab(test)


def test_nothing_at_all_is_said_so(on_lab):
    async def test(lab):
        with pytest.raises(RestoreError, match="there is none"):
            await lab.restore()

    on_lab(test)
