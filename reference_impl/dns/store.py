"""The zone in a file, and in memory: both are a `ZoneStore`."""

from __future__ import annotations

from pathlib import Path

import msgspec

from reference_impl.dns.records import Zone
from reference_impl.durable import replace_file


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
        replace_file(self.path, msgspec.json.encode(zone))


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
