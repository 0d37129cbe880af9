"""Objects as files of one folder: each with its digest, put whole or not at all."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import quote, unquote

import msgspec

from reference_impl.durable import replace_file, sync_folder
from reference_impl.objectstore.base import ObjectInfo

LONGEST_KEY: Final = 240  # bytes, percent-encoded: a file's name
MILLISECOND: Final = 1_000_000  # ns; listings tell no more
UNFINISHED: Final = ".unfinished-"  # no key's file begins so: "." at its beginning is encoded


class DamagedError(Exception):
    """The bytes on the disk are not those that were put."""


class Head(msgspec.Struct, frozen=True):
    """The first line of an object's file; the bytes follow. `sha256` is of the bytes."""

    size: int
    etag: str
    sha256: str
    modified: int


class Folder:
    """Raises `OSError` where the disk fails, KeyError for an object that is not there, ValueError for a key that can't be."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._puts = 0

    def __repr__(self) -> str:
        return f"<Folder {self.path.name}>"

    def open(self) -> None:
        """Make it; what a crash left unfinished is no object and goes."""
        self.path.mkdir(parents=True, exist_ok=True)
        for left in self.path.glob(f"{UNFINISHED}*"):
            left.unlink()

    def put(self, key: str, body: bytes, modified: int) -> ObjectInfo:
        """Durable when it returns: the file and its name are synced."""
        target = self._file(key)
        modified -= modified % MILLISECOND
        head = Head(
            size=len(body),
            etag=hashlib.md5(body, usedforsecurity=False).hexdigest(),
            sha256=hashlib.sha256(body).hexdigest(),
            modified=modified,
        )
        self._puts += 1
        unfinished = self.path / f"{UNFINISHED}{self._puts}"
        replace_file(target, msgspec.json.encode(head), b"\n", body, draft=unfinished)
        return ObjectInfo(key, head.size, head.etag, modified)

    def head(self, key: str) -> ObjectInfo:
        """Raises `DamagedError` when not even its first line can be read."""
        with self._open(key) as file:
            head = _read_head(file.readline())
        return ObjectInfo(key, head.size, head.etag, head.modified)

    def get(self, key: str) -> bytes:
        """Raises `DamagedError` when they are not what was put."""
        with self._open(key) as file:
            head = _read_head(file.readline())
            body = file.read()
        if len(body) != head.size or hashlib.sha256(body).hexdigest() != head.sha256:
            raise DamagedError(key)
        return body

    def delete(self, key: str) -> None:
        """Idempotent."""
        self._file(key).unlink(missing_ok=True)
        sync_folder(self.path)

    def keys(self, prefix: str = "") -> list[str]:
        """In the order of their UTF-8 bytes."""
        return sorted((key for key in self._keys() if key.startswith(prefix)), key=str.encode)

    def _keys(self) -> Iterator[str]:
        for name in os.listdir(self.path):  # noqa: PTH208 - names
            if not name.startswith(UNFINISHED):
                yield unquote(name)

    def _file(self, key: str) -> Path:
        name = quote(key, safe="")
        if name.startswith("."):
            name = f"%2E{name[1:]}"
        if not key or len(name) > LONGEST_KEY:
            raise ValueError(f"a key has 1 to {LONGEST_KEY} bytes, percent-encoded")
        return self.path / name

    def _open(self, key: str) -> BinaryIO:
        try:
            return self._file(key).open("rb")
        except FileNotFoundError:
            raise KeyError(key) from None


def _read_head(line: bytes) -> Head:
    try:
        return msgspec.json.decode(line, type=Head)
    except msgspec.DecodeError as error:
        raise DamagedError(str(error)) from None
