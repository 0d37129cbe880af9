"""The one writer of an arena: appends versions, publishes them, and moves to a new region when too much is out of date."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from reference_impl.pop.shared.arena import REGIONS, WORD, Arena, StoreFull
from reference_impl.pop.shared.layout import (
    DELETED,
    ENTRY_WORDS,
    VERSION_WORDS,
    Reader,
    Root,
    name_hash,
    sizes,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_LEAST_TABLE: Final = 1024  # places
_ROOM: Final = 3  # places in a new table for each of its entries
_RESERVE: Final = (
    8192  # words for a thousand publications of a level when there is no room for data
)
_SLACK: Final = 1 << 20  # bytes out of date that are always borne with


class Put(NamedTuple):
    """A flag to be written; `data` None: deleted. `rules`: the shared rules that it is to be compiled with."""

    org: bytes
    key: bytes
    seq: int
    data: bytes | None
    rules: bytes = b""


class _Full(Exception):  # noqa: N818 - caught here; a user sees StoreFull
    """The region or its table is."""


@dataclass(slots=True)
class _Region:
    """The region being written: where it goes on, and its table."""

    number: int
    generation: int
    at: int  # word
    end: int
    table: int = 0
    mask: int = 0
    count: int = 0
    stale: int = 0  # words out of date


class Writer(Reader):
    """Readers see what is written when it is published, whole. The level is published with the data."""

    def __init__(self, arena: Arena) -> None:
        super().__init__(arena)
        self.last = Root()
        self.moves = 0  # to another region
        self._left: list[
            tuple[int, int]
        ] = []  # regions to be reclaimed, and the generation after each
        self._blobs: dict[int, int] = {}
        self._region = self._begin(0, 1, 0)

    def __repr__(self) -> str:
        return f"<Writer {self.last.entries} entries, {self.used} of {self.arena.region_size} bytes, {len(self._left)} regions left>"

    @property
    def used(self) -> int:
        """Bytes of the region in use."""
        return self._region.at * WORD - self.arena.region(self._region.number)[0]

    def publish_level(self, level: int) -> None:
        """Let readers see another level. Raises `StoreFull`."""
        self._change((), self.last._replace(level=level))

    def change(self, puts: Sequence[Put], seq: int) -> None:
        """Write and publish all of `puts` at once. Raises `StoreFull`, and then nothing has changed."""
        self._change(puts, self.last._replace(seq=seq))

    def replace(self, puts: Iterable[Put], count: int, seq: int) -> None:
        """Write and publish `puts`, some `count` of them, in the place of everything. Raises `StoreFull`, and then nothing has changed."""
        self._move(puts, count, self.last._replace(seq=seq))

    def reclaim(self) -> None:
        """Give back the regions that no reader reads any more."""
        oldest = self.arena.oldest(self._region.generation)
        for number, generation in [each for each in self._left if each[1] <= oldest]:
            self.arena.reclaim(number)
            self._left.remove((number, generation))

    # -- one region --------------------------------------------------------------------------------------------------

    def _begin(self, number: int, generation: int, entries: int) -> _Region:
        start, end = self.arena.region(number)
        region = _Region(number, generation, start // WORD, end // WORD)
        places = _LEAST_TABLE
        while places < entries * _ROOM:
            places *= 2
        if region.at + places > region.end:
            raise StoreFull(f"no room for a table of {places} places")
        region.table, region.mask = region.at, places - 1
        region.at += places
        return region

    def _take(self, words: int, reserve: int = _RESERVE) -> int:
        """Room in the region; all but publications leave the reserve alone."""
        region = self._region
        at = region.at
        if at + words > region.end - reserve:
            raise _Full
        region.at = at + words
        return at

    def _change(self, puts: Sequence[Put], root: Root) -> None:
        if not self._try(puts, root):
            self._move(self._items(), self._region.count + len(puts), self.last)
            if not self._try(puts, root):
                raise StoreFull(f"{self!r}: no room for a change")
        self._tidy()

    def _try(self, puts: Sequence[Put], root: Root) -> bool:
        """Write and publish; False, and nothing has changed, where there is no room."""
        heads: list[tuple[int, int]] = []
        try:
            for put in puts:
                heads.append(self._put(put))  # noqa: PERF401 - those before one that fails count
            self._publish(root)
        except _Full:
            for entry, older in reversed(heads):
                self.words[entry + 1] = older
            return False
        return True

    def _put(self, put: Put) -> tuple[int, int]:
        """Append a version, unseen by readers until the next publication; tells its entry, and the version before."""
        entry = self._entry(put.org, put.key)
        older = self.words[entry + 1]
        size = 0 if put.data is None else len(put.data)
        rules, hashed = self._rules(put.rules)
        at = self._take(VERSION_WORDS + -(-size // WORD))
        first = (at + VERSION_WORDS) * WORD
        if put.data is not None:
            self.memory[first : first + size] = put.data
        told = DELETED if put.data is None else size
        for n, value in enumerate((self.last.n + 1, put.seq, older, rules, hashed, first, told)):
            self.words[at + n] = value
        if older:
            old = self.words[older + 6]
            self._region.stale += VERSION_WORDS + (0 if old == DELETED else -(-old // WORD))
        self.words[entry + 1] = at
        return entry, older

    def _entry(self, org: bytes, key: bytes | None) -> int:
        region = self._region
        here = Root(1, table=region.table, mask=region.mask)
        if found := self.entry(here, org, key):
            return found
        owner = 0 if key is None else self._entry(org, None)
        if region.count * _ROOM > region.mask * 2:
            raise _Full
        name, size = org if key is None else org + key, sizes(org, key)
        at = self._take(ENTRY_WORDS + -(-len(name) // WORD))
        hashed = name_hash(name, size)
        self.words[at], self.words[at + 3] = hashed, size
        self.words[at + 1] = self.words[at + 2] = 0
        first = (at + ENTRY_WORDS) * WORD
        self.memory[first : first + len(name)] = name
        if owner:
            self.words[at + 2] = self.words[owner + 1]
            self.words[owner + 1] = at
        place = hashed & region.mask
        while self.words[region.table + place]:
            place = (place + 1) & region.mask
        self.words[region.table + place] = at
        region.count += 1
        return at

    def _rules(self, rules: bytes) -> tuple[int, int]:
        if not rules:
            return 0, 0
        hashed = name_hash(rules, 0)
        at = self._blobs.get(hashed)
        if at is None:
            at = self._take(1 + -(-len(rules) // WORD))
            self.words[at] = len(rules)
            self.memory[(at + 1) * WORD : (at + 1) * WORD + len(rules)] = rules
            self._blobs[hashed] = at
        return at, hashed

    def _publish(self, root: Root) -> None:
        region = self._region
        made = root._replace(
            n=root.n + 1,
            generation=region.generation,
            table=region.table,
            mask=region.mask,
            entries=region.count,
        )
        at = self._take(len(made), 0)
        for n, value in enumerate(made):
            self.words[at + n] = value
        region.stale += len(made)
        self.last = made
        self.arena.publish(at)

    # -- from region to region ---------------------------------------------------------------------------------------

    def _tidy(self) -> None:
        """Move when more than a third is out of date."""
        stale = self._region.stale * WORD * 3 > self.used + 3 * _SLACK
        if stale and self._free() is not None:
            self._move(self._items(), self._region.count, self.last)

    def _free(self) -> int | None:
        self.reclaim()
        taken = {self._region.number, *(number for number, _ in self._left)}
        return next((number for number in range(REGIONS) if number not in taken), None)

    def _move(self, puts: Iterable[Put], count: int, root: Root) -> None:
        """Write `puts` into a new region and let readers follow."""
        number = self._free()
        if number is None:
            raise StoreFull(f"{self!r}: a reader has not left its region")
        old, blobs = self._region, self._blobs
        try:
            self._region, self._blobs = self._begin(number, old.generation + 1, count), {}
            for put in puts:
                self._put(put)
            self._publish(root)
        except (StoreFull, _Full):
            self._region, self._blobs = old, blobs
            self.arena.reclaim(number)
            raise StoreFull(f"{self!r}: no room for everything") from None
        self._left.append((old.number, self._region.generation))
        self.moves += 1

    def _items(self) -> Iterator[Put]:
        """Everything that readers see now."""
        root = self.last
        for org in self.organisations(root):
            for key, version in self.of(root, org):
                seq, data, rules = self.read(version)
                yield Put(org, key, seq, data, rules)
