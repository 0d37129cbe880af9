"""The flags of a PoP in tiers: compiled, as bytes in memory, and cold, of which only the position is known."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NoReturn

import msgspec

from reference_impl.evaluation import CompiledFlag, InvalidFlag, compile_flag
from reference_impl.pop.flags import EVALUATORS
from reference_impl.pop.tiered.shares import Shares
from reference_impl.propagation.types import Change, FlagState, RawFlagState, Snapshot

if TYPE_CHECKING:
    from collections.abc import Collection

    from reference_impl.pop.tiered.settings import TierSettings
    from reference_impl.pop.tiered.store import TieredStore

_log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode

# Bytes of memory, the most that was measured: of an entry beside the definition's own bytes, of an organisation that has some,
# of a compiled flag beside its values, and for each byte of a rule that is compiled.
ENTRY: Final = 300
ORGANISATION: Final = 600
COMPILED: Final = 2_200
RULE: Final = 40
_REFERS: Final = b'"$ref"'  # in a flag that uses shared rules


@dataclass(frozen=True, slots=True)
class Ready:
    """A flag that was compiled; `flag` None: it can't be."""

    seq: int
    flag: CompiledFlag | None


@dataclass(frozen=True, slots=True)
class Definition:
    """A definition's bytes, and the log position of its last change."""

    seq: int
    data: bytes


class _Rule(msgspec.Struct):
    targeting: msgspec.Raw = msgspec.Raw(b"")


_rule = msgspec.json.Decoder(_Rule).decode


class TieredFlags:
    """Follows a `TieredStore`. Definitions that come while there is room stay; others are brought by `take` on first use.

    What is in memory is never older than its position: a change replaces it. One that can't be compiled leaves the last good
    version in place while that is in memory, is logged and counted.
    """

    def __init__(self, store: TieredStore, settings: TierSettings) -> None:
        half = settings.memory // 2
        self.store = store
        self.rejected = 0  # definitions that couldn't be compiled
        self.rejection = ""  # why the last one couldn't
        self.definitions: Shares[Definition] = Shares(half, settings.idle, ORGANISATION)
        self.compiled: Shares[Ready] = Shares(half, settings.idle, ORGANISATION)
        self._rules: dict[str, dict[str, Any]] = {}
        self._recent: dict[tuple[str, str], CompiledFlag] = {}  # used since anything changed
        store.listen(self._follow)

    def __repr__(self) -> str:
        return f"<TieredFlags {self.compiled!r} {self.definitions!r}>"

    def get(self, org: str, key: str) -> CompiledFlag | None:
        """A flag that is in memory; None where there is none, it is cold, or it can't be compiled."""
        recent = self._recent.get((org, key))
        return self._find(org, key) if recent is None else recent

    def _find(self, org: str, key: str) -> CompiledFlag | None:
        ready = self.compiled.get(org, key)
        if ready is None:
            definition = self.definitions.get(org, key)
            if definition is None:
                return None
            ready = self._compiled(org, key, definition.seq, definition.data)
            return ready.flag
        if ready.flag is not None:
            self._recent[org, key] = ready.flag
        return ready.flag

    def _settle(self) -> None:
        """Count what was used lately as used, before anything gives way or changes."""
        for org, key in self._recent:
            self.compiled.get(org, key)
        self._recent.clear()

    def cold(self, org: str, key: str) -> bool:
        """Whether there is such a flag, and it is not in memory."""
        return self.knows(org, key) and self._held(org, key) == 0

    def keys(self, org: str) -> Collection[str]:
        """The keys of all flags of an organisation, in memory or not."""
        return self.store.of(org).keys()

    def knows(self, org: str, key: str) -> bool:
        """Whether there is such a flag, good or not, in memory or not."""
        return self.store.position(org, key) is not None

    def keep_ahead(self, org: str, key: str, state: FlagState) -> CompiledFlag | None:
        """Take a flag that the origin has and the stream hasn't brought yet, if it is newer and good."""
        if state.seq <= self.store.seq or self.compile(org, key, state) is None:
            return None
        return self.take(org, key, state)

    def take(self, org: str, key: str, state: FlagState) -> CompiledFlag | None:
        """Take a flag that was loaded into memory; None where it can't be compiled. It must not be older than its position."""
        self.store.learn(org, key, state.seq)
        self._keep(org, key, Definition(state.seq, _raw(state)))
        return self._compiled(org, key, state.seq, _raw(state)).flag

    def compile(self, org: str, key: str, state: FlagState) -> CompiledFlag | None:
        """A flag for this use only; None where it can't be compiled."""
        try:
            return compile_flag(key, _decode(_raw(state)), self._rules.get(org), version=state.seq)
        except (InvalidFlag, msgspec.DecodeError) as error:
            self._reject(org, error)
            return None

    async def run(self) -> NoReturn:
        """See `Flags.run`. Nothing is to be done in the background."""
        while True:
            await asyncio.Event().wait()

    # -- the tiers ---------------------------------------------------------------------------------------------------

    def _held(self, org: str, key: str) -> int:
        """The position of what is in memory of a flag; 0: nothing."""
        found = self.compiled.peek(org, key) or self.definitions.peek(org, key)
        return 0 if found is None else found.seq

    def _keep(self, org: str, key: str, definition: Definition) -> None:
        self.definitions.put(org, key, definition, ENTRY + len(definition.data))

    def _compiled(self, org: str, key: str, seq: int, data: bytes) -> Ready:
        ready = Ready(seq, self.compile(org, key, RawFlagState(seq, msgspec.Raw(data))))
        size = COMPILED if ready.flag is None else self._size(org, data)
        self._settle()
        self.compiled.put(org, key, ready, size)
        return ready

    def _size(self, org: str, data: bytes) -> int:
        """About what a flag needs compiled."""
        rule = len(bytes(_rule(data).targeting))
        if _REFERS in data:
            rule += len(_encode(self._rules.get(org, {})))
        return COMPILED + len(data) + RULE * rule

    def _drop(self, org: str, key: str) -> None:
        self.compiled.drop(org, key)
        self.definitions.drop(org, key)

    # -- the stream's side -------------------------------------------------------------------------------------------

    def _follow(self, cause: Change | Snapshot) -> None:
        self._settle()
        match cause:
            case Change(key=key) if key == EVALUATORS:
                self._take_rules(cause.org, cause.flag or {})
            case Change(flag=None):
                if self._held(cause.org, cause.key) < cause.seq:
                    self._drop(cause.org, cause.key)
            case Change(flag=flag):
                assert flag is not None
                self._changed(cause.org, cause.key, FlagState(cause.seq, flag))
            case Snapshot():
                self._replace(cause)

    def _changed(self, org: str, key: str, state: FlagState) -> None:
        """A newer version takes the place of what is in memory; where nothing is, only where there is room."""
        held = self._held(org, key)
        if held >= state.seq:
            return
        data = _raw(state)
        if not held:
            if self.definitions.fits(ENTRY + len(data)):
                self._keep(org, key, Definition(state.seq, data))
            return
        if self.compile(org, key, state) is None:
            return
        self.compiled.drop(org, key)
        self._keep(org, key, Definition(state.seq, data))

    def _replace(self, snapshot: Snapshot) -> None:
        for tier in (self.compiled, self.definitions):
            for org in tier.organisations():
                for key in [k for k, _ in tier.of(org) if not self.knows(org, k)]:
                    tier.drop(org, key)
        for gone in self._rules.keys() - snapshot.orgs.keys():
            del self._rules[gone]
        for org, state in snapshot.orgs.items():
            rules = state.flags.get(EVALUATORS)
            self._take_rules(org, _decode(_raw(rules)) if rules else {})
            for key, flag in state.flags.items():
                if key != EVALUATORS:
                    self._changed(org, key, flag)

    def _take_rules(self, org: str, rules: dict[str, Any]) -> None:
        if rules == self._rules.get(org, {}):
            return
        if rules:
            self._rules[org] = rules
        else:
            del self._rules[org]
        # Those whose bytes are gone are cold from now on.
        self.compiled.drop_all(org)

    def _reject(self, org: str, error: Exception) -> None:
        self.rejected += 1
        self.rejection = f"{org}: {error}"
        _log.warning("rejected: %s", self.rejection)


def _definition(state: FlagState) -> dict[str, Any]:
    flag: object = state.flag
    return _decode(flag) if isinstance(flag, msgspec.Raw) else state.flag


def _raw(state: FlagState) -> bytes:
    """A definition as bytes, whichever it came as."""
    flag: object = state.flag
    return bytes(flag) if isinstance(flag, msgspec.Raw) else _encode(flag)
