"""What the controller has done, step by step, on disk before the next: whoever starts again goes on where it was."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from reference_impl.durable import replace_file

# In this order (specification, RecoverFromRegionFailure).
DETECT, PROMOTE, DNS, BROADCAST, VERIFY, RESOLVE = (
    "detect",
    "promote",
    "dns",
    "broadcast",
    "verify",
    "resolve",
)
STEPS: Final = (DETECT, PROMOTE, DNS, BROADCAST, VERIFY, RESOLVE)


class Step(msgspec.Struct, frozen=True):
    """A step that is done. `at`: ns of the monotonic clock; `seen`: what it found or did, in a line."""

    step: str
    at: int
    seen: str = ""


class Failover(msgspec.Struct):
    """One failover: from which primary, in which epoch the next one is to be, and who that became.

    `to`: where it is planned, who is to be the next; "" after a loss.
    """

    n: int
    lost: str
    epoch: int
    new: str = ""
    to: str = ""
    steps: list[Step] = []

    @property
    def next(self) -> str | None:
        """None when all is done."""
        return STEPS[len(self.steps)] if len(self.steps) < len(STEPS) else None


class Journal:
    """All failovers, the newest last, in one file that is replaced as a whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.failovers: list[Failover] = []

    def __repr__(self) -> str:
        open_ = self.current
        return f"<Journal {len(self.failovers)} failovers, next {open_.next if open_ else None}>"

    def load(self) -> None:
        if self._path.exists():
            self.failovers = msgspec.json.decode(self._path.read_bytes(), type=list[Failover])

    @property
    def current(self) -> Failover | None:
        """The one that is not finished."""
        return next((f for f in reversed(self.failovers) if f.next is not None), None)

    def begin(self, lost: str, epoch: int, to: str = "") -> Failover:
        begun = Failover(len(self.failovers) + 1, lost, epoch, to=to)
        self.failovers.append(begun)
        return begun

    def done(self, failover: Failover, at: int, seen: str) -> None:
        """The next step of `failover` is done."""
        assert failover.next is not None
        failover.steps.append(Step(failover.next, at, seen))
        replace_file(self._path, msgspec.json.encode(self.failovers))
