"""Where backups and archives are kept: what every object store must do."""

from __future__ import annotations

from typing import Final, Protocol

import msgspec

NOT_FOUND: Final = "HTTP_404"  # the kind of `CallError` for an object that is not there
DAMAGED: Final = "HTTP_500"  # … and for one whose bytes are no longer those that were put


class ObjectInfo(msgspec.Struct, frozen=True):
    """`etag` is the MD5 of the bytes in hex (S3's, for an object put in one piece); `modified`: Unix time in ns."""

    key: str
    size: int
    etag: str
    modified: int


class ObjectStore(Protocol):
    """One bucket. Each call ends within its timeout, or raises `CallError`. `name` is the place, for people."""

    name: str

    async def put(self, key: str, body: bytes) -> str:
        """Keep `body` under `key`, all of it or nothing; returns the ETag once it is durable.

        After `CallError` it may have been kept; to put the same again is safe.
        """
        ...

    async def get(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        """The bytes from `start` up to, not including, `end`. Raises `CallError` NOT_FOUND, or DAMAGED where they are not
        what was put.
        """
        ...

    async def head(self, key: str) -> ObjectInfo:
        """Raises `CallError` NOT_FOUND."""
        ...

    async def delete(self, key: str) -> None:
        """Idempotent."""
        ...

    async def list(self, prefix: str = "") -> list[ObjectInfo]:
        """All objects whose keys begin so, in the order of their keys' UTF-8 bytes."""
        ...

    async def close(self) -> None: ...
