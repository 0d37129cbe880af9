"""One bit of one file of a node: what `corrupt` flips, and how it is put back."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Self

import msgspec

BIT = 0x10


class Spot(msgspec.Struct, frozen=True):
    """A byte at `offset` of the file `path` (below its node's folder); `whole` is what it was before."""

    path: str
    offset: int
    whole: int

    @property
    def flipped(self) -> int:
        return self.whole ^ BIT

    def __str__(self) -> str:
        """As an undo's detail."""
        return f"{self.offset}:{self.whole}:{self.path}"

    @classmethod
    def parse(cls, detail: str) -> Self:
        """Raises ValueError for what is none."""
        offset, whole, path = detail.split(":", 2)
        return cls(path, int(offset), int(whole))

    @classmethod
    def choose(cls, folder: Path, pattern: str) -> Self:
        """The middle of the newest file below `folder` that matches `pattern`. Raises FileNotFoundError for none."""
        files = [path for path in folder.rglob(pattern) if path.is_file() and path.stat().st_size]
        if not files:
            raise FileNotFoundError(f"no file like {pattern} with anything in it")
        newest = max(files, key=lambda path: (path.stat().st_mtime_ns, path.name))
        offset = newest.stat().st_size // 2
        with newest.open("rb") as file:
            whole = os.pread(file.fileno(), 1, offset)[0]
        return cls(str(newest.relative_to(folder)), offset, whole)

    def read(self, folder: Path) -> int | None:
        """The byte as it is on the disk; None where there is none any more."""
        try:
            with (folder / self.path).open("rb") as file:
                found = os.pread(file.fileno(), 1, self.offset)
        except FileNotFoundError:
            return None
        return found[0] if found else None

    def flip(self, folder: Path) -> None:
        """Idempotent: a byte that is not `whole` any more is left."""
        self._change(folder, self.whole, self.flipped)

    def mend(self, folder: Path) -> None:
        """Idempotent: only what was flipped is put back, not what came in its place since."""
        self._change(folder, self.flipped, self.whole)

    def _change(self, folder: Path, old: int, new: int) -> None:
        if self.read(folder) == old:
            with (folder / self.path).open("r+b") as file:
                os.pwrite(file.fileno(), bytes((new,)), self.offset)
                os.fsync(file.fileno())
