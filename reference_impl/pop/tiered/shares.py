"""A bounded memory that organisations share fairly."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

V = TypeVar("V")


class _Share(Generic[V]):
    """What one organisation has: by key, least recently used first. `at`: when it was last used, in s of the loop's clock."""

    __slots__ = ("at", "used", "values")

    def __init__(self) -> None:
        self.values: OrderedDict[str, tuple[V, int]] = OrderedDict()
        self.used = 0
        self.at = 0.0

    def __repr__(self) -> str:
        return f"<_Share {len(self.values)} values, {self.used} bytes>"


class Shares(Generic[V]):
    """At most `limit` bytes of values. Where there is no room, an organisation that was idle for `idle` s gives way, else one of
    the greatest: what was used least recently of its own. `each`: bytes that an organisation needs besides.

    While n organisations are in use, one that has at most `limit` / 2n bytes loses nothing to the others. (The greatest has
    at least `limit` / n; who gives way has more than half of what that one has, so that it is found without a search.)
    """

    def __init__(self, limit: int, idle: float, each: int = 0) -> None:
        self.limit = limit
        self.each = each
        self.idle = idle
        self.used = 0
        self.evicted = 0  # values that gave way
        self._orgs: OrderedDict[str, _Share[V]] = OrderedDict()  # least recently used first
        self._ranks: dict[
            int, OrderedDict[str, None]
        ] = {}  # the same, by the bit length of what they use

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.used} of {self.limit} bytes, {len(self._orgs)} organisations>"

    def __len__(self) -> int:
        return sum(len(share.values) for share in self._orgs.values())

    def get(self, org: str, key: str) -> V | None:
        """A value; it counts as used."""
        share = self._orgs.get(org)
        found = None if share is None else share.values.get(key)
        if share is None or found is None:
            return None
        share.values.move_to_end(key)
        self._use(org, share)
        return found[0]

    def peek(self, org: str, key: str) -> V | None:
        """A value, looked at only."""
        share = self._orgs.get(org)
        found = None if share is None else share.values.get(key)
        return None if found is None else found[0]

    def of(self, org: str) -> Iterator[tuple[str, V]]:
        """All that an organisation has now, looked at only."""
        share = self._orgs.get(org)
        return iter([(k, v) for k, (v, _) in share.values.items()] if share else [])

    def organisations(self) -> list[str]:
        """Those that have something."""
        return list(self._orgs)

    def fits(self, size: int) -> bool:
        """Whether there is room without anybody giving way."""
        return self.used + size <= self.limit

    def put(self, org: str, key: str, value: V, size: int) -> None:
        """Keep a value of `size` bytes, which counts as used, in place of the one of that key; not where it is greater than all room."""
        self.drop(org, key)
        if size + self.each > self.limit:
            return
        share, more = self._orgs.get(org), size
        if share is None:
            share, more = self._orgs.setdefault(org, _Share()), size + self.each
        share.values[key] = (value, size)
        self._resize(org, share, more)
        self._use(org, share)
        while self.used > self.limit:
            self._evict()

    def drop(self, org: str, key: str) -> None:
        """Forget a value, if there is one."""
        share = self._orgs.get(org)
        if share is None or key not in share.values:
            return
        _, size = share.values.pop(key)
        self._resize(org, share, -size if share.values else -share.used)

    def drop_all(self, org: str) -> None:
        """Forget what an organisation has."""
        for key, _ in self.of(org):
            self.drop(org, key)

    def _use(self, org: str, share: _Share[V]) -> None:
        share.at = asyncio.get_running_loop().time()
        self._orgs.move_to_end(org)
        self._ranks[share.used.bit_length()].move_to_end(org)

    def _resize(self, org: str, share: _Share[V], by: int) -> None:
        before, share.used = share.used.bit_length(), share.used + by
        self.used += by
        after = share.used.bit_length()
        if not share.values:
            del self._orgs[org]
        if before != after:
            self._leave(before, org)
            if share.values:
                self._ranks.setdefault(after, OrderedDict())[org] = None

    def _leave(self, rank: int, org: str) -> None:
        members = self._ranks.get(rank)
        if members is not None:
            members.pop(org, None)
            if not members:
                del self._ranks[rank]

    def _evict(self) -> None:
        org = self._gives_way()
        self.drop(org, next(iter(self._orgs[org].values)))
        self.evicted += 1

    def _gives_way(self) -> str:
        oldest = next(iter(self._orgs))
        if asyncio.get_running_loop().time() - self._orgs[oldest].at > self.idle:
            return oldest
        return next(iter(self._ranks[max(self._ranks)]))
