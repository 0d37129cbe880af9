"""Stand-ins for what a backup works with: the programs, the primary, a clock that is moved by hand."""

from __future__ import annotations

import asyncio

from reference_impl.backup.programs import Taken
from reference_impl.backup.wal_names import next_number
from reference_impl.clock import PlatformClock
from reference_impl.programs import ProgramError
from reference_impl.resilience.errors import SERVICE_UNAVAILABLE, CallError

SEGMENT = 1 << 20  # bytes
EPOCH = 1_800_000_000 * 10**9  # Unix ns, on the full hour
HOUR, DAY = 3600.0, 86400.0


def segment(n, timeline=1):
    number = "0" * 16
    for _ in range(n):
        number = next_number(number, SEGMENT)
    return f"{timeline:08X}{number}"


class FakePrograms:
    """`Programs`. Backup n begins at WAL segment n. `failing`: names of calls that fail now."""

    def __init__(self):
        self.failing = set()
        self.taken = 0
        self.calls = []
        self.files = {}  # what "pg_receivewal" has received: name to bytes
        self.end = asyncio.Event()

    def _call(self, name):
        self.calls.append(name)
        if name in self.failing:
            raise ProgramError(f"{name} failed with 1: as the test wants it")

    async def base_backup(self, into):
        self._call("base_backup")
        self.taken += 1
        into.mkdir(parents=True)
        (into / "content").write_text(f"backup {self.taken}")
        start = self.taken * SEGMENT
        return Taken(1, start, start + 100, segment(self.taken))

    async def verify(self, folder):
        self._call("verify")
        assert (folder / "content").exists()

    async def pack(self, folder, archive):
        self._call("pack")
        archive.write_bytes((folder / "content").read_bytes())

    async def unpack(self, archive, folder):
        self._call("unpack")
        folder.mkdir()
        (folder / "content").write_bytes(archive.read_bytes())

    async def receive_wal(self, into, slot):
        self._call("receive_wal")
        for name, body in self.files.items():
            (into / name).write_bytes(body)
        await self.end.wait()
        self.end.clear()
        raise ProgramError("receive_wal failed with 1: the connection is lost")


class FakePrimary:
    """`Primary` at a position; None: it can't be reached."""

    def __init__(self, at=0):
        self.at = at
        self.slots = set()

    async def position(self):
        if self.at is None:
            raise CallError(SERVICE_UNAVAILABLE, "db")
        return self.at

    async def keep_wal(self, slot):
        await self.position()
        new = slot not in self.slots
        self.slots.add(slot)
        return new


class Alerts:
    def __init__(self):
        self.raised = []

    def __call__(self, name, data):
        self.raised.append((name, data))

    @property
    def names(self):
        return [name for name, _ in self.raised]


def still_clock():
    """A clock that moves only when it is told to."""
    return PlatformClock(lambda: EPOCH)
