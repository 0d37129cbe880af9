"""The flags of a shared store as one process uses them: bytes for all, compiled only those in use."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import msgspec

from reference_impl.evaluation import CompiledFlag, InvalidFlag, compile_flag
from reference_impl.pop.flags import EVALUATORS
from reference_impl.pop.levels import CHAIN, Level
from reference_impl.pop.shared.layout import Reader, Root

if TYPE_CHECKING:
    from reference_impl.pop.shared.arena import Arena

_log = logging.getLogger(__name__)

LEAST: Final = 16
_decode = msgspec.json.Decoder(dict[str, object]).decode


class _Hot:
    """A flag that was compiled (None: it can't be), of which version, and at which publication that was looked up."""

    __slots__ = ("checked", "flag", "identity")

    def __init__(self, flag: CompiledFlag | None, identity: tuple[int, int], checked: int) -> None:
        self.flag = flag
        self.identity = identity
        self.checked = checked


class HotFlags:
    """Reads at one root until `pin` moves on to the newest: what is read in between is of one moment.

    At most `limit` flags are kept compiled. Those used since the half of them was full are the young; when they are half
    of all, the others are forgotten.
    """

    def __init__(self, arena: Arena, reader: int, limit: int) -> None:
        self.limit = max(LEAST, limit)
        self.rejected = 0  # definitions that couldn't be compiled
        self.compiled = 0  # definitions that could
        self.level = Level.EMERGENCY
        self.root = Root()
        self._arena = arena
        self._number = reader
        self._reader = Reader(arena)
        self._words = arena.words
        self._at = 0  # where the root is
        self._young: dict[tuple[str, str], _Hot] = {}
        self._old: dict[tuple[str, str], _Hot] = {}
        self._keys: dict[str, tuple[int, list[str]]] = {}

    def __repr__(self) -> str:
        return f"<HotFlags seq={self.root.seq} {self.level} {self.held} of {self.limit} compiled>"

    @property
    def held(self) -> int:
        """How many flags are kept compiled."""
        return len(self._young) + len(self._old)

    def pin(self) -> None:
        """Read at the newest root from now on."""
        if self._words[0] != self._at:
            self._move()

    def get(self, org: str, key: str) -> CompiledFlag | None:
        """A flag at this root; None where there is none, or none that can be compiled."""
        hot = self._young.get((org, key))
        if hot is None or hot.checked != self.root.n:
            hot = self._look(org, key)
        return hot.flag if hot is not None else None

    def knows(self, org: str, key: str) -> bool:
        """Whether there is a definition, good or not."""
        return self._version(org, key) != 0

    def keys(self, org: str) -> list[str]:
        """The keys of an organisation's flags at this root, sorted."""
        kept = self._keys.get(org)
        if kept is None or kept[0] != self.root.n:
            found = sorted(
                text
                for key, _ in self._reader.of(self.root, _bytes(org))
                if (text := key.decode(errors="surrogatepass")) != EVALUATORS
            )
            self._keys = {org: (self.root.n, found)}  # of the last that was asked for
            return found
        return kept[1]

    def _move(self) -> None:
        while True:
            at = self._words[0]
            root = self._reader.root(at)
            if self.root.generation != root.generation:
                self._arena.say(self._number, root.generation)
            if self._words[0] == at:
                break
        self._at, self.root = at, root
        self.level = CHAIN[root.level]

    def _version(self, org: str, key: str) -> int:
        reader, root = self._reader, self.root
        return reader.version(root, reader.entry(root, _bytes(org), _bytes(key)))

    def _look(self, org: str, key: str) -> _Hot | None:
        name = (org, key)
        version = 0 if key == EVALUATORS else self._version(org, key)
        hot = self._young.get(name) or self._old.pop(name, None)
        if not version:
            self._young.pop(name, None)
            return None
        identity = self._reader.identity(version)
        if hot is None or hot.identity != identity:
            hot = _Hot(self._compile(org, key, version), identity, 0)
        hot.checked = self.root.n
        self._young[name] = hot
        if len(self._young) > self.limit // 2:
            self._old, self._young = self._young, {name: hot}
            self._old.pop(name)
        return hot

    def _compile(self, org: str, key: str, version: int) -> CompiledFlag | None:
        seq, data, rules = self._reader.read(version)
        try:
            flag = compile_flag(key, _decode(data), _decode(rules) if rules else None, version=seq)
        except (InvalidFlag, msgspec.DecodeError) as error:
            self.rejected += 1
            _log.warning("rejected: %s: %s", org, error)
            return None
        self.compiled += 1
        return flag


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogatepass")
