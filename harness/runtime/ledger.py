"""What must be undone, written down before it is done: a JSONL file that survives whoever wrote it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from harness.fault import Undo
from harness.runtime.wire import Entry

if TYPE_CHECKING:
    from pathlib import Path


class _Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """Either a new entry (`undo`), or that entry `id` is done (no `undo`)."""

    id: int
    undo: Undo | None = None


class Ledger:
    """`record` is on disk before it returns. A torn last line (a write cut off) is no entry: its act never began."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._open: dict[int, Undo] = {}
        self._next = 1
        self._read()
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def __repr__(self) -> str:
        return f"Ledger({self.path}, {len(self._open)} outstanding)"

    def record(self, undo: Undo) -> int:
        """Write the undo down; returns its id. Raises OSError when it can't be written."""
        number = self._next
        self._next += 1
        self._write(_Line(number, undo))
        self._open[number] = undo
        return number

    def done(self, number: int) -> None:
        """Idempotent."""
        if number in self._open:
            self._write(_Line(number))
            del self._open[number]

    def outstanding(self) -> list[Entry]:
        """What is not done yet, last recorded first: the order in which to undo."""
        return [Entry(number, undo) for number, undo in sorted(self._open.items(), reverse=True)]

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _write(self, line: _Line) -> None:
        raw = msgspec.json.encode(line) + b"\n"
        view = memoryview(raw)
        while view:
            view = view[os.write(self._fd, view) :]
        os.fsync(self._fd)

    def _read(self) -> None:
        if not self.path.exists():
            return
        raw = self.path.read_bytes()
        *lines, torn = raw.split(b"\n")
        if torn:  # cut it off, so that what is written next begins a line of its own
            os.truncate(self.path, len(raw) - len(torn))
        for text in lines:
            line = msgspec.json.decode(text, type=_Line)
            self._next = max(self._next, line.id + 1)
            if line.undo is None:
                self._open.pop(line.id, None)
            else:
                self._open[line.id] = line.undo
