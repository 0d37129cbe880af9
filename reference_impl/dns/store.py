"""The zone in a file, and in memory: both are a `ZoneStore`."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from reference_impl.dns.records import Zone


class FileZoneStore:
    """One JSON file, replaced as a whole."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __repr__(self) -> str:
        return f"<FileZoneStore {str(self.path)!r}>"

    def load(self) -> Zone | None:
        """See `ZoneStore.load`."""
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=Zone)
        except FileNotFoundError:
            return None
        except msgspec.DecodeError as error:
            raise ValueError(f"{self.path}: {error}") from None

    def save(self, zone: Zone) -> None:
        """See `ZoneStore.save`."""
        draft = self.path.with_suffix(".new")
        with draft.open("wb") as file:
            file.write(msgspec.json.encode(zone))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self.path)
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # or a power cut could bring the old name back
        finally:
            os.close(folder)


class MemoryZoneStore:
    """Outlives the server that uses it, not the process."""

    def __init__(self) -> None:
        self._saved: bytes | None = None

    def __repr__(self) -> str:
        return f"<MemoryZoneStore {'empty' if self._saved is None else 'filled'}>"

    def load(self) -> Zone | None:
        """See `ZoneStore.load`."""
        return None if self._saved is None else msgspec.json.decode(self._saved, type=Zone)

    def save(self, zone: Zone) -> None:
        """See `ZoneStore.save`."""
        self._saved = msgspec.json.encode(zone)
