"""An object store in memory."""

from __future__ import annotations

import hashlib

from reference_impl.objectstore.base import DAMAGED, NOT_FOUND, ObjectInfo
from reference_impl.resilience.errors import CallError


class MemoryObjectStore:
    """An `ObjectStore`. `broken`: the kind of error that every call raises now, or None; `damaged`: keys that can't be read."""

    def __init__(self, name: str = "memory") -> None:
        self.name = name
        self.broken: str | None = None
        self.damaged: set[str] = set()
        self._objects: dict[str, tuple[bytes, ObjectInfo]] = {}
        self._puts = 0

    def __repr__(self) -> str:
        return (
            f"<MemoryObjectStore {self.name} {self.broken or 'well'} objects={len(self._objects)}>"
        )

    async def put(self, key: str, body: bytes) -> str:
        self._reach()
        self._puts += 1  # there is no clock here: the order of puts stands for it
        etag = hashlib.md5(body, usedforsecurity=False).hexdigest()
        self._objects[key] = body, ObjectInfo(key, len(body), etag, self._puts)
        self.damaged.discard(key)
        return etag

    async def get(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        self._reach()
        body, _ = self._find(key)
        if key in self.damaged:
            raise CallError(DAMAGED, f"{self.name}: {key}")
        return body[start:end]

    async def head(self, key: str) -> ObjectInfo:
        self._reach()
        return self._find(key)[1]

    async def delete(self, key: str) -> None:
        self._reach()
        self._objects.pop(key, None)

    async def list(self, prefix: str = "") -> list[ObjectInfo]:
        self._reach()
        keys = sorted((key for key in self._objects if key.startswith(prefix)), key=str.encode)
        return [self._objects[key][1] for key in keys]

    async def close(self) -> None: ...

    def _reach(self) -> None:
        if self.broken is not None:
            raise CallError(self.broken, self.name)

    def _find(self, key: str) -> tuple[bytes, ObjectInfo]:
        try:
            return self._objects[key]
        except KeyError:
            raise CallError(NOT_FOUND, f"{self.name}: {key}") from None
