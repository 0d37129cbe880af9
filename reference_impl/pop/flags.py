"""The flags in memory, compiled: each version of a flag once, and never so many at once that requests must wait."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final, NoReturn

from reference_impl.evaluation import CompiledFlag, InvalidFlag, compile_flag
from reference_impl.propagation.types import Change, FlagState, OrgState, Snapshot

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from reference_impl.propagation.store import Store

_log = logging.getLogger(__name__)

EVALUATORS: Final = "$evaluators"
SLICE: Final = 0.002  # s of compiling before other work gets its turn
KEPT_AHEAD: Final = 10_000  # flags from the origin that the stream hasn't brought yet


class _Org:
    """One organisation's flags. A key in `pending` is to be compiled; until then `compiled` has its last good one."""

    __slots__ = ("compiled", "evaluators", "evaluators_seq", "pending")

    def __init__(self) -> None:
        self.compiled: dict[str, CompiledFlag] = {}
        self.pending: dict[str, FlagState] = {}
        self.evaluators: dict[str, Any] = {}
        self.evaluators_seq = 0

    def __repr__(self) -> str:
        return f"<_Org {len(self.compiled)} compiled, {len(self.pending)} pending>"


class CompiledFlags:
    """Follows a `Store` and has its flags compiled: on first use, or by `run` in the background.

    A definition that can't be compiled leaves that flag's last good version in place, is logged and counted.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.rejected = 0  # definitions that couldn't be compiled
        self.rejection = ""  # why the last one couldn't
        self._orgs: dict[str, _Org] = {}
        self._ahead: OrderedDict[tuple[str, str], CompiledFlag] = OrderedDict()
        self._work = asyncio.Event()
        store.listen(self._follow)

    def __repr__(self) -> str:
        waiting = sum(len(org.pending) for org in self._orgs.values())
        return f"<CompiledFlags seq={self.store.seq} pending={waiting} rejected={self.rejected}>"

    def get(self, org: str, key: str) -> CompiledFlag | None:
        """The newest good version of a flag; None where there is none."""
        if self._ahead and (early := self._ahead.get((org, key))):
            return early
        flags = self._orgs.get(org)
        if flags is None:
            return None
        if flags.pending and key in flags.pending:
            self._compile(org, flags, key)
        return flags.compiled.get(key)

    def of(self, org: str) -> Mapping[str, CompiledFlag]:
        """All flags of an organisation by key."""
        flags = self._orgs.get(org)
        if flags is None:
            found: Mapping[str, CompiledFlag] = {}
        else:
            for key in list(flags.pending):
                self._compile(org, flags, key)
            found = flags.compiled
        ahead = {key: flag for (owner, key), flag in self._ahead.items() if owner == org}
        return {**found, **ahead} if ahead else found

    def keys(self, org: str) -> Collection[str]:
        """The keys of all flags of an organisation."""
        return self.of(org).keys()

    def knows(self, org: str, key: str) -> bool:
        """Whether the store has a definition of that flag, good or not."""
        state = self.store.orgs.get(org)
        return state is not None and key in state.flags

    def keep_ahead(self, org: str, key: str, state: FlagState) -> CompiledFlag | None:
        """Take a flag that the origin has and the stream hasn't brought yet; it is kept until then.

        None, and nothing is kept, where it is not newer than the store (which knows that it was deleted since) or
        can't be compiled.
        """
        if state.seq <= self.store.seq:
            return None
        flags = self._orgs.get(org)
        try:
            flag = compile_flag(
                key, state.flag, flags.evaluators if flags else None, version=state.seq
            )
        except InvalidFlag as error:
            self._reject(org, error)
            return None
        self._ahead[org, key] = flag
        if len(self._ahead) > KEPT_AHEAD:
            self._ahead.popitem(last=False)
        return flag

    async def run(self) -> NoReturn:
        """Compile in the background, a slice at a time, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self._work.wait()
            self._work.clear()
            until = loop.time() + SLICE
            for name, org in list(self._orgs.items()):
                for key in list(org.pending):
                    self._compile(name, org, key)
                    if loop.time() >= until:
                        await asyncio.sleep(0)
                        until = loop.time() + SLICE

    def _follow(self, cause: Change | Snapshot) -> None:
        match cause:
            case Change(key=key) if key == EVALUATORS:
                self._load(cause.org, self.store.orgs[cause.org])
            case Change():
                org = self._orgs.setdefault(cause.org, _Org())
                if cause.flag is None:
                    org.pending.pop(cause.key, None)
                    org.compiled.pop(cause.key, None)
                else:
                    org.pending[cause.key] = FlagState(cause.seq, cause.flag)
                    self._compile(cause.org, org, cause.key)
            case Snapshot():
                for gone in self._orgs.keys() - self.store.orgs.keys():
                    del self._orgs[gone]
                for name, state in self.store.orgs.items():
                    self._load(name, state)
        if self._ahead:
            self._forget_what_arrived()

    def _load(self, name: str, state: OrgState) -> None:
        """Mark what differs from what is compiled; nothing is compiled here."""
        org = self._orgs.setdefault(name, _Org())
        same_rules = self._load_evaluators(org, state.flags.get(EVALUATORS))
        for gone in (org.compiled.keys() | org.pending.keys()) - state.flags.keys():
            org.compiled.pop(gone, None)
            org.pending.pop(gone, None)
        for key, flag in state.flags.items():
            if key == EVALUATORS:
                continue
            present = org.compiled.get(key)
            if present is None or present.version != flag.seq or not same_rules:
                org.pending[key] = flag
        if org.pending:
            self._work.set()

    @staticmethod
    def _load_evaluators(org: _Org, state: FlagState | None) -> bool:
        """Take an organisation's shared rules; True where they are what they were."""
        seq = state.seq if state else 0
        if seq == org.evaluators_seq:
            return True
        org.evaluators_seq = seq
        org.evaluators = state.flag if state else {}
        return False

    def _compile(self, name: str, org: _Org, key: str) -> None:
        state = org.pending.pop(key, None)
        if state is None:
            return
        try:
            org.compiled[key] = compile_flag(key, state.flag, org.evaluators, version=state.seq)
        except InvalidFlag as error:
            self._reject(name, error)

    def _reject(self, org: str, error: InvalidFlag) -> None:
        self.rejected += 1
        self.rejection = f"{org}: {error}"
        _log.warning("rejected, the last good version stays: %s", self.rejection)

    def _forget_what_arrived(self) -> None:
        arrived = [name for name, flag in self._ahead.items() if flag.version <= self.store.seq]
        for name in arrived:
            del self._ahead[name]
