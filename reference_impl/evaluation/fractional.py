"""flagd's `fractional`: the same key always falls into the same bucket, and buckets have weights.

The key's canonical CBOR is hashed with murmur3 (32 bits); hash * total weight / 2^32 is the place on the scale of
weights. The key is the first argument, or by default the list of flag key and targeting key.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

import mmh3

from reference_impl.evaluation import cbor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MAX_TOTAL_WEIGHT: Final = 2**31 - 1
_PAIR: Final = 2


class Buckets:
    """Weighted values on one scale."""

    __slots__ = ("_ends", "_total", "_values")

    def __init__(self, values: Sequence[Any], weights: Sequence[int]) -> None:
        self._values = values
        self._ends = list(accumulate(max(0, weight) for weight in weights))
        self._total = self._ends[-1] if self._ends else 0

    def __repr__(self) -> str:
        return f"<Buckets of {self._total}: {self._values}>"

    def choose(self, encoded_key: bytes) -> Any:
        """The value for a key in canonical CBOR; null if the weights make no scale."""
        if not 0 < self._total <= MAX_TOTAL_WEIGHT:
            return None
        place: int = mmh3.hash(encoded_key, signed=False) * self._total >> 32
        return self._values[bisect_right(self._ends, place)]


def problem(bucket: Any) -> str:
    """Why this is no bucket, `[value]` or `[value, integer weight]`; empty if it is one."""
    if not isinstance(bucket, list) or not 1 <= len(bucket) <= _PAIR:
        return f"a bucket is [variant] or [variant, weight], not {bucket!r}"
    weight = bucket[1] if len(bucket) == _PAIR else 1
    if not isinstance(weight, int) or isinstance(weight, bool):
        return f"a weight is an integer, not {weight!r}"
    return ""


def make_buckets(raw: Sequence[Any]) -> Buckets | None:
    """Buckets from evaluated arguments; null if one is none."""
    if any(problem(bucket) for bucket in raw):
        return None
    return Buckets(
        [bucket[0] for bucket in raw], [bucket[1] if len(bucket) == _PAIR else 1 for bucket in raw]
    )


def by_targeting_key(flag_key: str, buckets: Buckets) -> Callable[[Any], Any]:
    """The common case, prepared: constant buckets, default key, the whole context as data."""
    prefix = b"\x82" + cbor.encode_text(flag_key)
    choose, encode = buckets.choose, cbor.encode_text

    def rule(data: Any) -> Any:
        key = data.get("targetingKey")
        if not key or not isinstance(key, str):
            return None
        return choose(prefix + encode(key))

    return rule


def distribute(data: Any, *arguments: Any) -> Any:
    """The general case, on evaluated arguments; null if there is no key, or no proper buckets."""
    if not arguments:
        return None
    if isinstance(arguments[0], list):
        key, raw = _default_key(data), arguments
    else:
        key, raw = arguments[0], arguments[1:]
    buckets = make_buckets(raw)
    return None if key is None or buckets is None else buckets.choose(cbor.encode(key))


def _default_key(data: Any) -> list[str] | None:
    key = data.get("targetingKey")
    if not key or not isinstance(key, str):
        return None
    return [data.get("$flagd", {}).get("flagKey", ""), key]
