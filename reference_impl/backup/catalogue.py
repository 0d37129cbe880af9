"""What backups there are at a location: small JSON objects beside them, so that a restore needs nothing but the store."""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from reference_impl.objectstore.base import ObjectStore
from reference_impl.resilience.errors import INVALID, CallError

ARCHIVES: Final = "backups/"
ENTRIES: Final = "catalogue/"


class Backup(msgspec.Struct, frozen=True, kw_only=True):
    """A verified base backup.

    `taken`: the platform's calendar when its slot's turn came, Unix ns; `at`: the wall clock when it was complete, Unix ns,
    for a restore up to a time. `start_segment`: the first WAL segment that is needed to replay from it. Positions are LSNs.
    """

    kind: str
    id: str
    slot: int
    taken: int
    at: int
    size: int
    sha256: str
    timeline: int
    start: int
    end: int
    start_segment: str

    @property
    def key(self) -> str:
        return f"{ARCHIVES}{self.kind}/{self.id}.tar.gz"

    @property
    def entry(self) -> str:
        return f"{ENTRIES}{self.kind}/{self.id}.json"

    def fits(self, archive: bytes) -> bool:
        """Whether these are the bytes that were verified."""
        return hashlib.sha256(archive).hexdigest() == self.sha256


class Catalogue:
    """The backups at one store, as they are there: read once, then kept up with what we do ourselves."""

    def __init__(self, store: ObjectStore) -> None:
        self.store = store
        self.backups: list[Backup] = []
        self.loaded = False

    def __repr__(self) -> str:
        return f"<Catalogue {self.store.name} backups={len(self.backups)}>"

    def of(self, kind: str) -> list[Backup]:
        """Oldest first."""
        found = [backup for backup in self.backups if backup.kind == kind]
        return sorted(found, key=lambda backup: backup.taken)

    async def load(self) -> None:
        """Read it, unless that was done. Raises `CallError`; an entry that can't be read is left out."""
        if self.loaded:
            return
        found = []
        for info in await self.store.list(ENTRIES):
            try:
                found.append(await read_entry(self.store, info.key))
            except CallError as error:
                if not _is_content(error):
                    raise
        self.backups, self.loaded = found, True

    async def register(self, backup: Backup, archive: bytes) -> None:
        """The archive first: an entry always has its archive. Raises `CallError`."""
        await self.store.put(backup.key, archive)
        await self.store.put(backup.entry, msgspec.json.encode(backup))
        self.backups = [b for b in self.backups if b.entry != backup.entry] + [backup]

    async def remove(self, backup: Backup) -> None:
        """The entry first. Raises `CallError`; safe to call again."""
        await self.store.delete(backup.entry)
        await self.store.delete(backup.key)
        self.backups.remove(backup)


async def read_entry(store: ObjectStore, key: str) -> Backup:
    """Raises `CallError`, INVALID for what is no entry."""
    try:
        return msgspec.json.decode(await store.get(key), type=Backup)
    except msgspec.DecodeError as error:
        raise CallError(INVALID, f"{store.name}: {key}: {error}") from None


def _is_content(error: CallError) -> bool:
    """Whether it is the object that is bad, not the way to it."""
    return error.kind == INVALID or error.kind.startswith("HTTP_")
