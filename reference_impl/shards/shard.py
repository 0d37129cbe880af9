"""Which shard an organisation is on, and which server has that shard ("SHARDING_STRATEGY"). Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

FIRST: Final = 16  # shards at first
MOST: Final = 256
_DIGITS: Final = 15  # hexadecimal digits of the digest, so that the hash is no negative bigint


def org_hash(org: str) -> int:
    """The same for every process, machine and version; `schema.sql` has it too."""
    return int(hashlib.sha256(org.encode()).hexdigest()[:_DIGITS], 16)


class Shard(msgspec.Struct, frozen=True, order=True):
    """All organisations whose hash is `number` modulo `of`. While shards are doubled, some are of the old number and some of the new."""

    of: int
    number: int

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def has(self, org: str) -> bool:
        return org_hash(org) % self.of == self.number

    @property
    def halves(self) -> tuple[Shard, Shard]:
        """What it is once their number is doubled: those that keep its number, and those that get a new one."""
        return Shard(self.of * 2, self.number), Shard(self.of * 2, self.number + self.of)


def shards(count: int) -> list[Shard]:
    return [Shard(count, number) for number in range(count)]


class Owned(msgspec.Struct, frozen=True):
    """A server has a shard. Its `epoch` rises with each hand-over; while it is not `open`, it is neither read nor written."""

    shard: Shard
    epoch: int = 1
    open: bool = True


class ShardMap:
    """What each server last said that it has. There is no other map: what a server that is away had stays as it was."""

    def __init__(self) -> None:
        self._owned: dict[str, tuple[Owned, ...]] = {}

    def __repr__(self) -> str:
        told = {server: len(owned) for server, owned in self._owned.items()}
        return f"<ShardMap {told}>"

    @property
    def servers(self) -> Mapping[str, tuple[Owned, ...]]:
        return self._owned

    def learn(self, server: str, owned: Iterable[Owned]) -> bool:
        """Whether that is news."""
        fresh = tuple(sorted(owned, key=lambda one: one.shard))
        if self._owned.get(server) == fresh:
            return False
        self._owned[server] = fresh
        return True

    def owner(self, org: str) -> str | None:
        """The server that has it by the latest word; None where none is known, as within a hand-over."""
        hashed = org_hash(org)
        best: tuple[int, int, str] | None = None
        for server, owned in self._owned.items():
            for one in owned:
                if one.open and hashed % one.shard.of == one.shard.number:
                    best = max(best or (0, 0, ""), (one.epoch, one.shard.of, server))
        return best[2] if best else None
