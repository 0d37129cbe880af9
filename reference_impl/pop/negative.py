"""A bounded memory of what is known not to exist, so that lookups of absent flags do not all reach the origin."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Generic, TypeVar

K = TypeVar("K")


class NegativeCache(Generic[K]):
    """The last `size` absent keys, least recently used out first; each is believed for `ttl` s of the loop's clock."""

    def __init__(self, *, size: int = 10_000, ttl: float = 1.0) -> None:
        self.size = size
        self.ttl = ttl
        self._until: OrderedDict[K, float] = OrderedDict()

    def __repr__(self) -> str:
        return f"<NegativeCache {len(self._until)} of {self.size}, ttl {self.ttl} s>"

    def __len__(self) -> int:
        return len(self._until)

    def __contains__(self, key: K) -> bool:
        until = self._until.get(key)
        if until is None:
            return False
        if asyncio.get_running_loop().time() >= until:
            del self._until[key]
            return False
        self._until.move_to_end(key)
        return True

    def add(self, key: K) -> None:
        self._until[key] = asyncio.get_running_loop().time() + self.ttl
        self._until.move_to_end(key)
        while len(self._until) > self.size:
            self._until.popitem(last=False)

    def discard(self, key: K) -> None:
        self._until.pop(key, None)
