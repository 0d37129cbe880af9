"""Counts of the most frequent of any number of keys, in bounded memory, by which nobody is counted too often.

Misra and Gries, "Finding repeated elements" (1982), in batches: when there are too many counters the median of their counts
is taken from each, and those at 0 go. Each time that takes half of the counters' number times the median from the total, so
a count lacks at most `error`, which is at most twice the total by the number of counters.
"""

from __future__ import annotations

from typing import Generic, TypeVar

K = TypeVar("K")


class Frequent(Generic[K]):
    """`size`: counters that are kept. For each key: its count <= how often it was added <= its count + `error`."""

    __slots__ = ("counts", "error", "size")

    def __init__(self, size: int) -> None:
        """Raises `ValueError` for a size below 2."""
        if size < 2:  # noqa: PLR2004 - half of it must be at least one counter
            raise ValueError("a sketch needs at least 2 counters")
        self.size = size
        self.error = 0
        self.counts: dict[K, int] = {}

    def __repr__(self) -> str:
        return f"<Frequent {len(self.counts)} of {self.size} counters, error {self.error}>"

    def add(self, key: K) -> None:
        """Count it once: in constant time, all in all. The data path does so for each evaluation."""
        counts = self.counts
        counts[key] = counts.get(key, 0) + 1
        if len(counts) > self.size:
            self._shrink()

    def clear(self) -> None:
        """Begin anew."""
        self.counts = {}
        self.error = 0

    def _shrink(self) -> None:
        taken = sorted(self.counts.values())[len(self.counts) // 2]
        self.error += taken
        self.counts = {key: count - taken for key, count in self.counts.items() if count > taken}
