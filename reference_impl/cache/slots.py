"""Slots of a Redis cluster: which node has which, and who is to have which (Redis cluster specification)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from redis.crc import key_slot

SLOTS = 16_384
FIRST_SLOT_WORD = 8  # of a line of CLUSTER NODES
GONE = frozenset({"handshake", "noaddr"})


@dataclass(frozen=True, slots=True)
class Member:
    """A node as another sees it. `host` is "" for one that has not yet learned its own address."""

    id: str
    host: str
    myself: bool
    known: bool  # it has answered once
    slots: tuple[range, ...]

    @property
    def slot_count(self) -> int:
        return sum(len(each) for each in self.slots)


def parse_nodes(text: str) -> list[Member]:
    """The answer to CLUSTER NODES. Raises ValueError for what is none."""
    return [_member(line.split()) for line in text.splitlines() if line.strip()]


def _member(words: list[str]) -> Member:
    if len(words) < FIRST_SLOT_WORD:
        raise ValueError(f"no line of CLUSTER NODES: {' '.join(words)!r}")
    node, address, flags = words[0], words[1], set(words[2].split(","))
    slots = tuple(_range(word) for word in words[FIRST_SLOT_WORD:] if not word.startswith("["))
    return Member(node, address.rpartition(":")[0], "myself" in flags, not flags & GONE, slots)


def _range(word: str) -> range:
    first, _, last = word.partition("-")
    return range(int(first), int(last or first) + 1)


def shares(nodes: Sequence[str]) -> Iterator[tuple[str, range]]:
    """The slots that each of `nodes` is to have: all of them, in equal parts, the same in whatever order they are named."""
    ordered = sorted(nodes)
    for n, node in enumerate(ordered):
        yield node, range(n * SLOTS // len(ordered), (n + 1) * SLOTS // len(ordered))


def name_of(org: str, key: str) -> str:
    """The Redis key of a flag's entry."""
    return f"squall:flag:{quote(org, safe='')}/{quote(key, safe='')}"


def slot_of(name: str) -> int:
    slot: int = key_slot(name.encode())
    return slot
