"""What a PoP's lead, its workers and their parent tell each other of how many workers there are: words of shared memory.

Each word has one writer at a time and is written as one.
"""

from __future__ import annotations

import mmap
from typing import Final

from reference_impl.pop.shared.arena import READERS, WORD

_WANTED: Final = 0
_REACHABLE: Final = 1
_SHED: Final = 2
_SHARE: Final = 3
_SERVING: Final = 4
_PARTS: Final = 1_000_000  # in which a share is written
_REQUESTS: Final = _SERVING + READERS


class Headcount:
    """Make it before forking: the processes that share it are its maker's children. Workers count from 0."""

    def __init__(self, workers: int) -> None:
        self._memory = mmap.mmap(-1, (_REQUESTS + READERS) * WORD)
        self._words = memoryview(self._memory).cast("Q")
        self._words[_WANTED] = self._words[_REACHABLE] = workers

    def __repr__(self) -> str:
        return f"<Headcount {self.wanted} wanted, {self.reachable} reachable, {self.requests} requests>"

    @property
    def wanted(self) -> int:
        """How many workers there should be; those with a higher number leave. The lead says so."""
        return self._words[_WANTED]

    @wanted.setter
    def wanted(self, workers: int) -> None:
        self._words[_WANTED] = workers

    @property
    def reachable(self) -> int:
        """How many workers new connections go to. The lead says so."""
        return self._words[_REACHABLE]

    @reachable.setter
    def reachable(self, workers: int) -> None:
        self._words[_REACHABLE] = workers

    def shed(self, share: float) -> None:
        """Ask all workers to let go of a share of the connections that they keep. The lead does."""
        self._words[_SHARE] = round(share * _PARTS)
        self._words[_SHED] += 1

    @property
    def asked_to_shed(self) -> tuple[int, float]:
        """How often they were asked, and to let go of which share the last time."""
        return self._words[_SHED], self._words[_SHARE] / _PARTS

    def serving(self, worker: int) -> bool:
        """Whether that worker has said that it accepts connections."""
        return bool(self._words[_SERVING + worker])

    def serve(self, worker: int, *, yes: bool) -> None:
        """Say it."""
        self._words[_SERVING + worker] = yes

    def counter(self, worker: int) -> memoryview:
        """The word in which that worker counts its requests; one that takes its place goes on there."""
        at = _REQUESTS + worker
        return self._words[at : at + 1]

    @property
    def requests(self) -> int:
        """Of all workers, since the node's start."""
        return sum(self._words[_REQUESTS : _REQUESTS + READERS])
