"""Scheduled backups over a calendar that is moved by hand: taken, verified, placed, expired, told."""

import asyncio

import pytest

from reference_impl.backup.catalogue import Catalogue
from reference_impl.backup.policy import Schedule
from reference_impl.backup.snapshots import Snapshots
from reference_impl.objectstore.memory import MemoryObjectStore
from reference_impl.resilience.errors import TIMEOUT
from tests.reference_impl.backup.lab import DAY, HOUR, Alerts, FakePrograms, segment, still_clock
from tests.reference_impl.support import until

SCHEDULES = {
    "hourly": Schedule(every=HOUR, keep=5 * HOUR, stores=("eu",)),
    "daily": Schedule(every=DAY, keep=3 * DAY),
}


class Lab:
    def __init__(self, folder):
        self.programs, self.alerts, self.clock = FakePrograms(), Alerts(), still_clock()
        self.us, self.eu = MemoryObjectStore("us"), MemoryObjectStore("eu")
        self.folder = folder
        self.snapshots = self.make()

    def make(self):
        catalogues = [Catalogue(self.us), Catalogue(self.eu)]
        return Snapshots(
            self.programs, self.folder, catalogues, SCHEDULES, self.clock, self.alerts, 0.01
        )

    def move(self, seconds):
        self.clock.advance(seconds)
        self.snapshots.look()

    async def settled(self):
        await until(lambda: self.snapshots.settled, seen=lambda: self.snapshots)

    async def step(self, seconds=HOUR):
        self.move(seconds)
        assert not self.snapshots.settled
        await self.settled()

    @staticmethod
    async def keys(store, prefix="backups/"):
        return [info.key for info in await store.list(prefix)]


@pytest.fixture
def on_lab(tmp_path):
    def run(test):
        async def main():
            lab = Lab(tmp_path)
            task = asyncio.create_task(lab.snapshots.run())
            try:
                await test(lab)
            finally:
                task.cancel()
                await asyncio.wait({task})

        asyncio.run(main())

    return run


def test_what_is_due_together_is_one_backup_in_its_places(on_lab):
    async def test(lab):
        await lab.settled()
        assert lab.programs.taken == 1
        assert [key.split("/")[1] for key in await lab.keys(lab.us)] == ["daily"]
        assert [key.split("/")[1] for key in await lab.keys(lab.eu)] == ["daily", "hourly"]
        await lab.step()
        assert lab.programs.taken == 2
        assert [key.split("/")[1] for key in await lab.keys(lab.eu)] == [
            "daily",
            "hourly",
            "hourly",
        ]
        assert lab.alerts.raised == []

    on_lab(test)


def test_each_has_an_entry_that_fits(on_lab):
    async def test(lab):
        await lab.settled()
        for store in (lab.us, lab.eu):
            catalogue = Catalogue(store)
            await catalogue.load()
            assert {each.key for each in catalogue.backups} == set(await lab.keys(store))
            for each in catalogue.backups:
                assert each.fits(await store.get(each.key))
                assert not each.fits(b"another")
                assert (each.start_segment, each.size) == (segment(1), len(b"backup 1"))

    on_lab(test)


@pytest.mark.parametrize("call", ["base_backup", "verify", "pack"])
def test_what_does_not_verify_is_never_kept(on_lab, call):
    async def test(lab):
        await lab.settled()
        before = await lab.keys(lab.eu)
        lab.programs.failing.add(call)
        lab.move(HOUR)
        await until(lambda: lab.snapshots.failures > 2, seen=lambda: lab.snapshots)
        assert await lab.keys(lab.eu) == before
        assert lab.alerts.names == ["BACKUP_FAILED"]
        assert not lab.snapshots.settled
        assert call in str(lab.snapshots.status()["error"])
        lab.programs.failing.clear()
        await lab.settled()
        assert len(await lab.keys(lab.eu)) == len(before) + 1
        assert lab.alerts.names == ["BACKUP_FAILED", "BACKUP_RECOVERED"]
        assert list(lab.folder.iterdir()) == []

    on_lab(test)


def test_one_location_that_is_down_keeps_none_from_the_other(on_lab):
    async def test(lab):
        await lab.settled()
        lab.us.broken = TIMEOUT
        lab.move(DAY)
        await until(lambda: lab.snapshots.failures, seen=lambda: lab.snapshots)
        assert len(await lab.keys(lab.eu, "backups/daily/")) == 2
        assert not lab.snapshots.settled
        lab.us.broken = None
        await lab.settled()
        assert len(await lab.keys(lab.us, "backups/daily/")) == 2
        assert lab.programs.taken == 2  # the same bytes, not another one
        names = [key.rpartition("/")[2] for key in await lab.keys(lab.us)]
        assert names == [k.rpartition("/")[2] for k in await lab.keys(lab.eu, "backups/daily/")]

    on_lab(test)


def test_a_newer_one_takes_the_place_of_one_that_never_arrived(on_lab):
    async def test(lab):
        await lab.settled()
        lab.eu.broken = TIMEOUT
        lab.move(HOUR)
        await until(lambda: lab.snapshots.failures > 1, seen=lambda: lab.snapshots)
        lab.move(HOUR)
        await until(lambda: lab.programs.taken == 3, seen=lambda: lab.programs.calls)
        lab.eu.broken = None
        await lab.settled()
        assert len(await lab.keys(lab.eu, "backups/hourly/")) == 2
        assert ("BACKUP_MISSED", {"kinds": ["hourly"], "locations": ["eu"]}) in lab.alerts.raised

    on_lab(test)


def test_time_that_leaps_leaves_slots_that_are_told_as_missed(on_lab):
    async def test(lab):
        await lab.settled()
        await lab.step(4 * HOUR)
        assert lab.programs.taken == 2
        assert lab.snapshots.missed == 3
        assert lab.alerts.raised == [("BACKUP_MISSED", {"kinds": ["hourly"], "slots": 3})]

    on_lab(test)


def test_the_old_go_with_their_entries_and_their_wal(on_lab):
    async def test(lab):
        await lab.settled()
        for n in range(12):
            await lab.eu.put(f"wal/{segment(n)}.gz", b"x")
        for _ in range(8):
            await lab.step()
        hourlies = await lab.keys(lab.eu, "backups/hourly/")
        assert len(hourlies) == 5
        assert len(await lab.keys(lab.eu, "catalogue/hourly/")) == 5
        # Nine were taken; the oldest that is kept is the fifth, whose WAL begins at segment 5.
        assert await lab.keys(lab.eu, "wal/") == [f"wal/{segment(n)}.gz" for n in range(5, 12)]
        assert len(await lab.keys(lab.us, "backups/daily/")) == 1

    on_lab(test)


def test_a_restart_goes_on_where_the_stores_are(tmp_path):
    async def main():
        lab = Lab(tmp_path)
        for expected in (1, 1, 2):
            lab.snapshots = lab.make()
            task = asyncio.create_task(lab.snapshots.run())
            if expected == 2:
                lab.clock.advance(HOUR)
            await lab.settled()
            task.cancel()
            await asyncio.wait({task})
            assert lab.programs.taken == expected
        assert len(await lab.keys(lab.eu, "backups/hourly/")) == 2

    asyncio.run(main())


def test_a_location_that_is_down_at_the_start_is_read_later(tmp_path):
    async def main():
        lab = Lab(tmp_path)
        lab.us.broken = TIMEOUT
        task = asyncio.create_task(lab.snapshots.run())
        await until(lambda: lab.snapshots.last, seen=lambda: lab.snapshots)
        lab.us.broken = None
        await lab.settled()
        task.cancel()
        await asyncio.wait({task})
        assert len(await lab.keys(lab.us)) == 1

    asyncio.run(main())


def test_one_that_is_overdue_is_told_once(on_lab):
    async def test(lab):
        await lab.settled()
        lab.programs.failing.add("base_backup")
        lab.move(1.5 * HOUR)
        await until(lambda: lab.snapshots.failures > 2, seen=lambda: lab.snapshots)
        assert "BACKUP_OVERDUE" not in lab.alerts.names
        lab.move(HOUR)
        seen = lab.snapshots.failures
        await until(lambda: lab.snapshots.failures > seen + 3, seen=lambda: lab.snapshots)
        assert lab.alerts.names.count("BACKUP_OVERDUE") == 1

    on_lab(test)


def test_one_can_be_demanded_between_its_times(on_lab):
    async def test(lab):
        await lab.settled()
        lab.clock.advance(1)
        lab.snapshots.demand()
        await lab.settled()
        assert lab.programs.taken == 2
        assert len(await lab.keys(lab.eu, "backups/hourly/")) == 2

    on_lab(test)
