"""What lies in the arena, and how it is read: a table of flags by organisation and key, each with its last versions.

All places are indexes of words. A reader holds one root; it sees the versions that were published with that root or before,
and none that came later, so whatever it reads within one request is of one moment. It never waits.

    root     n  generation  seq  level  table  mask  entries
    entry    hash  newest version (an organisation's: its first flag)  next flag  sizes of org and key  name …
    version  n  seq  older version  rules  hash of rules  first byte  size
    rules    size  bytes …

`n` counts publications. Entries are never moved or removed within a generation; only their second word changes, and the table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import mmh3

from reference_impl.pop.shared.arena import WORD, Arena

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT_WORDS: Final = 7
ENTRY_WORDS: Final = 4  # without the name
VERSION_WORDS: Final = 8
DELETED: Final = (1 << 64) - 1  # instead of a size
NO_KEY: Final = (1 << 32) - 1  # the key's size in an organisation's own entry


class Root(NamedTuple):
    """Where readers begin. `n` 0: nothing was published yet."""

    n: int = 0
    generation: int = 0
    seq: int = 0
    level: int = 0
    table: int = 0
    mask: int = 0
    entries: int = 0


class Version(NamedTuple):
    """One version of a flag. `data` is its definition; `rules` the shared rules that it is to be compiled with."""

    seq: int
    data: bytes
    rules: bytes


def sizes(org: bytes, key: bytes | None) -> int:
    return len(org) << 32 | (NO_KEY if key is None else len(key))


def name_hash(name: bytes, size: int) -> int:
    """Never 0, which stands for no rules."""
    found: int = mmh3.hash64(name, size & 0xFFFFFFFF, signed=False)[0]
    return found | 1


class Reader:
    """Reads an arena at a root. Several may, in several processes."""

    def __init__(self, arena: Arena) -> None:
        self.arena = arena
        self.words = arena.words
        self.memory = arena.memory

    def __repr__(self) -> str:
        return f"<Reader of {self.arena!r}>"

    def root(self, at: int) -> Root:
        """The root at a place that `Arena.root` gave."""
        return Root(*self.words[at : at + ROOT_WORDS]) if at else Root()

    def entry(self, root: Root, org: bytes, key: bytes | None) -> int:
        """The entry of a flag, or of an organisation (`key` None); 0 where there is none."""
        if not root.n:
            return 0
        words, name, size = self.words, org if key is None else org + key, sizes(org, key)
        hashed = name_hash(name, size)
        at = hashed & root.mask
        while entry := words[root.table + at]:
            if words[entry] == hashed and words[entry + 3] == size and self._name(entry) == name:
                return entry
            at = (at + 1) & root.mask
        return 0

    def version(self, root: Root, entry: int) -> int:
        """The version of a flag at this root, 0 where there is none."""
        words = self.words
        version = words[entry + 1] if entry else 0
        while version and words[version] > root.n:
            version = words[version + 2]
        return version if version and words[version + 6] != DELETED else 0

    def identity(self, version: int) -> tuple[int, int]:
        """Equal for equal versions, also across generations: the log position, and the rules it is compiled with."""
        return self.words[version + 1], self.words[version + 4]

    def read(self, version: int) -> Version:
        """Copy a version out of the arena."""
        _, seq, _, rules, _, first, size = self.words[version : version + 7]
        return Version(seq, self.memory[first : first + size], self.blob(rules))

    def blob(self, at: int) -> bytes:
        if not at:
            return b""
        first = (at + 1) * WORD
        return self.memory[first : first + self.words[at]]

    def of(self, root: Root, org: bytes) -> Iterator[tuple[bytes, int]]:
        """Key and version of each flag of an organisation."""
        entry = self.entry(root, org, None)
        entry = self.words[entry + 1] if entry else 0
        while entry:
            if version := self.version(root, entry):
                yield self._name(entry)[len(org) :], version
            entry = self.words[entry + 2]

    def organisations(self, root: Root) -> Iterator[bytes]:
        """Those that have, or had, a flag in this generation."""
        for at in range(root.table, root.table + root.mask + 1 if root.n else root.table):
            entry = self.words[at]
            if entry and self.words[entry + 3] & NO_KEY == NO_KEY:
                yield self._name(entry)

    def _name(self, entry: int) -> bytes:
        size = self.words[entry + 3]
        first = (entry + ENTRY_WORDS) * WORD
        key = size & NO_KEY
        return self.memory[first : first + (size >> 32) + (0 if key == NO_KEY else key)]
