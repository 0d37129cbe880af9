"""How large a part of the connections that are nearest to a PoP it keeps, as a router's weighted ECMP does it.

Each connection is drawn for by itself, and for each PoP apart: the same connection always leads to the same place, and a
weight that changes moves no more connections than it must.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_ALL = 1 << 64


class Weights:
    """By PoP; 1 for those not named. They hold until `until` (s of the clock that `order` is given)."""

    def __init__(self) -> None:
        self._weights: dict[str, float] = {}
        self._until = 0.0

    def __repr__(self) -> str:
        return f"<Weights {self._weights}>"

    def replace(self, weights: Mapping[str, float], until: float) -> None:
        """These and no others."""
        self._weights = {name: weight for name, weight in weights.items() if weight < 1}
        self._until = until

    def at(self, now: float) -> dict[str, float]:
        """Those that hold, of PoPs that have less than 1."""
        return self._weights if now < self._until else {}

    def order(self, flow: str, names: Sequence[str], now: float) -> list[str]:
        """`names`, nearest first; before them the one that this connection is drawn to."""
        weights = self.at(now)
        if not weights:
            return list(names)
        drawn = (name for name in names if _draw(flow, name) < weights.get(name, 1.0))
        first = next(drawn, names[0])
        return [first, *(name for name in names if name != first)]


def _draw(flow: str, name: str) -> float:
    """A number in [0, 1) that is always the same for these two."""
    digest = hashlib.blake2b(f"{flow} {name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / _ALL
