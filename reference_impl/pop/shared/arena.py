"""Shared memory for one writing process and many reading ones, in regions that are used one after the other.

Layout: a header, then `REGIONS` regions of the same size. The first word of the header is the *root*: the place of what
readers begin with. It is written last, so what it leads to is whole; eight aligned bytes are written as one. (Stores are
seen in the order in which they are made on x86-64. Elsewhere Python's own locks and system calls lie between them.)

Memory is taken from the system when it is first written and given back when a region is reclaimed. A region that the
writer has left is reclaimed only when every reader has said, in its own word of the header, that it left it too.
"""

from __future__ import annotations

import mmap
import os
from typing import Final

WORD: Final = 8  # bytes
PAGE: Final = mmap.PAGESIZE
READERS: Final = 64
REGIONS: Final = 4
_ROOT: Final = 0
_READERS: Final = 1
HEADER: Final = PAGE


class StoreFull(Exception):  # noqa: N818 - the state of a store, as its users name it
    """The data does not fit into the memory that the store may use."""


class Arena:
    """`limit`: bytes of one region. Make it before forking: the processes that share it are its maker's children."""

    def __init__(self, limit: int) -> None:
        self.region_size = -(-limit // PAGE) * PAGE
        size = HEADER + REGIONS * self.region_size
        fd = os.memfd_create("flags")
        try:
            os.ftruncate(fd, size)  # address space; no memory is used yet
            self.memory = mmap.mmap(fd, size)
        finally:
            os.close(fd)
        self.words = memoryview(self.memory).cast("Q")

    def __repr__(self) -> str:
        return f"<Arena {REGIONS} x {self.region_size} bytes, root at {self.root}>"

    @property
    def root(self) -> int:
        """The word that the root is at; 0 before the first was published."""
        return self.words[_ROOT]

    def publish(self, root: int) -> None:
        """Let readers begin at `root` from now on."""
        self.words[_ROOT] = root

    def say(self, reader: int, generation: int) -> None:
        """Reader `reader` begins at nothing older than `generation` from now on; 0: there is no such reader."""
        self.words[_READERS + reader] = generation

    def oldest(self, newest: int) -> int:
        """The oldest generation that a reader may be reading; `newest` where there is no reader."""
        said = self.words[_READERS : _READERS + READERS]
        return min((generation for generation in said if generation), default=newest)

    def region(self, number: int) -> tuple[int, int]:
        """First and last-but-one byte of a region."""
        start = HEADER + number * self.region_size
        return start, start + self.region_size

    def reclaim(self, number: int) -> None:
        """Give a region's memory back to the system."""
        start, end = self.region(number)
        self.memory.madvise(mmap.MADV_REMOVE, start, end - start)
