"""WAL is shipped as it comes: whole segments once, the newest piece again and again, to each location for itself."""

import asyncio
import gzip

import pytest

from reference_impl.backup.wal import GONE, WalSettings, WalShipper
from reference_impl.objectstore.memory import MemoryObjectStore
from reference_impl.resilience.errors import TIMEOUT
from tests.reference_impl.backup.lab import SEGMENT, Alerts, FakePrimary, FakePrograms, segment
from tests.reference_impl.support import until


def whole(n):
    return (f"{n}".encode() * SEGMENT)[:SEGMENT]


def piece(written):
    return (b"x" * written).ljust(SEGMENT, b"\0")


class Lab:
    def __init__(self, folder, **settings):
        self.folder, self.programs, self.primary = folder, FakePrograms(), FakePrimary()
        self.us, self.eu = MemoryObjectStore("us"), MemoryObjectStore("eu")
        self.alerts, self.renewals = Alerts(), 0
        self.shipper = WalShipper(
            self.programs,
            folder,
            [self.us, self.eu],
            WalSettings(**{"every": 0.01, "retry": 0.01, **settings}),
            self.primary,
            self.alerts,
            self._renewed,
        )

    def _renewed(self):
        self.renewals += 1

    def write(self, name, body):
        (self.folder / name).write_bytes(body)

    async def keys(self, store):
        return [info.key for info in await store.list()]

    async def got(self, store, name):
        return gzip.decompress(await store.get(f"wal/{name}.gz"))


@pytest.fixture
def on_lab(tmp_path):
    def run(test, **settings):
        asyncio.run(test(Lab(tmp_path, **settings)))

    return run


def test_a_piece_is_shipped_and_gives_way_to_the_whole(on_lab):
    async def test(lab):
        lab.write(f"{segment(3)}.partial", piece(1000))
        await lab.shipper.round()
        assert await lab.got(lab.us, f"{segment(3)}.partial") == piece(1000)
        assert lab.shipper.shipped == 3 * SEGMENT + 1000
        (lab.folder / f"{segment(3)}.partial").unlink()
        lab.write(segment(3), whole(3))
        await lab.shipper.round()
        assert await lab.keys(lab.eu) == [f"wal/{segment(3)}.gz"]
        assert await lab.got(lab.eu, segment(3)) == whole(3)
        assert lab.shipper.shipped == 4 * SEGMENT

    on_lab(test)


def test_a_piece_is_shipped_again_only_when_it_grew(on_lab):
    async def test(lab):
        lab.write(f"{segment(1)}.partial", piece(10))
        await lab.shipper.round()
        first = (await lab.us.list())[0].modified
        await lab.shipper.round()
        assert (await lab.us.list())[0].modified == first
        lab.write(f"{segment(1)}.partial", piece(11))
        await lab.shipper.round()
        assert await lab.got(lab.us, f"{segment(1)}.partial") == piece(11)

    on_lab(test)


def test_what_is_everywhere_is_not_kept_here_but_for_the_newest(on_lab):
    async def test(lab):
        for n in range(1, 4):
            lab.write(segment(n), whole(n))
        lab.eu.broken = TIMEOUT
        await lab.shipper.round()
        assert len(list(lab.folder.iterdir())) == 3
        assert lab.shipper.shipped == 0
        lab.eu.broken = None
        await lab.shipper.round()
        assert [path.name for path in lab.folder.iterdir()] == [segment(3)]
        assert len(await lab.keys(lab.eu)) == 3

    on_lab(test)


def test_wal_that_waits_too_long_is_told_once_and_its_recovery_too(on_lab):
    async def test(lab):
        lab.write(f"{segment(1)}.partial", piece(100))
        lab.primary.at = SEGMENT + 100
        await lab.shipper.round()
        assert lab.shipper.status()["behind_s"] == 0
        lab.primary.at = SEGMENT + 500
        loop = asyncio.get_running_loop()
        end = loop.time() + 5
        while not lab.alerts.raised:
            assert loop.time() < end, lab.shipper
            await lab.shipper.round()
            await asyncio.sleep(0.01)
        await lab.shipper.round()
        assert lab.alerts.names == ["WAL_OVERDUE"]
        lab.write(f"{segment(1)}.partial", piece(500))
        await lab.shipper.round()
        assert lab.alerts.names == ["WAL_OVERDUE", "WAL_SHIPPING_RECOVERED"]

    on_lab(test, overdue=0.05)


@pytest.mark.parametrize("why", ["primary", "store"])
def test_silence_is_not_taken_for_health(on_lab, why):
    async def test(lab):
        lab.write(f"{segment(1)}.partial", piece(100))
        lab.primary.at = None if why == "primary" else SEGMENT + 100
        lab.us.broken = None if why == "primary" else TIMEOUT
        await lab.shipper.round()
        await asyncio.sleep(0.03)
        await lab.shipper.round()
        assert lab.alerts.names == ["WAL_OVERDUE"]
        assert lab.shipper.status()["error"]

    on_lab(test, overdue=0.02)


def test_receiving_begins_again_after_it_ended(on_lab):
    async def test(lab):
        task = asyncio.create_task(lab.shipper.receive())
        await until(lambda: lab.shipper.receiving, seen=lambda: lab.shipper)
        lab.programs.end.set()
        await until(lambda: lab.programs.calls.count("receive_wal") == 2, seen=lambda: lab.shipper)
        assert lab.renewals == 1  # the slot was new, once
        task.cancel()
        await asyncio.wait({task})
        assert not lab.shipper.receiving

    on_lab(test)


def test_a_gap_is_told_and_a_new_base_backup_wanted(on_lab):
    async def test(lab):
        lab.primary.slots.add(lab.shipper.settings.slot)
        lab.write(segment(1), whole(1))

        async def refuse(_folder, _slot):
            from reference_impl.programs import ProgramError

            raise ProgramError(f"requested WAL segment {segment(2)} {GONE}")

        lab.programs.receive_wal = refuse
        task = asyncio.create_task(lab.shipper.receive())
        await until(lambda: lab.renewals, seen=lambda: lab.shipper)
        task.cancel()
        await asyncio.wait({task})
        assert lab.alerts.names[0] == "WAL_GAP"
        assert list(lab.folder.iterdir()) == []

    on_lab(test)


def test_another_timeline_wants_a_new_base_backup(on_lab):
    async def test(lab):
        lab.write(segment(4), whole(4))
        await lab.shipper.round()
        assert lab.renewals == 0
        lab.write("00000002.history", b"1\t0/400000\tno recovery target specified\n")
        lab.write(segment(5, timeline=2), whole(5))
        await lab.shipper.round()
        assert lab.renewals == 1
        assert (await lab.got(lab.us, "00000002.history")).startswith(b"1\t")

    on_lab(test)
