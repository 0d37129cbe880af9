"""What the mover has done of a growth, step by step, on disk before the next: whoever starts again goes on where it was."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from reference_impl.durable import replace_file
from reference_impl.shards.shard import Shard

SPLIT, COPY, CLOSE, CATCH_UP, OPEN, DROP = "split", "copy", "close", "catch_up", "open", "drop"
STEPS: Final = (SPLIT, COPY, CLOSE, CATCH_UP, OPEN, DROP)
STAYS: Final = (SPLIT,)  # the new half is to be where the whole was


class Move(msgspec.Struct):
    """One shard is halved, and its new half goes from one server to another. `done`: how many steps are."""

    shard: Shard
    source: str
    target: str
    done: int = 0

    @property
    def half(self) -> Shard:
        return self.shard.halves[1]

    @property
    def next(self) -> str | None:
        """None when all is done."""
        steps = STAYS if self.source == self.target else STEPS
        return steps[self.done] if self.done < len(steps) else None


class Growth(msgspec.Struct):
    """From half as many shards to `shards`."""

    shards: int
    moves: list[Move]

    @property
    def left(self) -> list[Move]:
        return [move for move in self.moves if move.next is not None]


class Journal:
    """All growths, the newest last, in one file that is replaced as a whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.growths: list[Growth] = []

    def __repr__(self) -> str:
        open_ = self.current
        return (
            f"<Journal {len(self.growths)} growths, {len(open_.left) if open_ else 0} moves left>"
        )

    def load(self) -> None:
        if self._path.exists():
            self.growths = msgspec.json.decode(self._path.read_bytes(), type=list[Growth])

    @property
    def current(self) -> Growth | None:
        """The one that is not finished."""
        return next((growth for growth in reversed(self.growths) if growth.left), None)

    @property
    def latest(self) -> Growth | None:
        return self.growths[-1] if self.growths else None

    def begin(self, growth: Growth) -> None:
        self.growths.append(growth)
        self._write()

    def done(self, move: Move) -> None:
        """The next step of `move` is done."""
        assert move.next is not None
        move.done += 1
        self._write()

    def _write(self) -> None:
        replace_file(self._path, msgspec.json.encode(self.growths))
