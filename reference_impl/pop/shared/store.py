"""The lead's store of a PoP with workers: a `Store` whose flags are bytes in shared memory, and nowhere else."""

from __future__ import annotations

import contextlib
import logging
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

import msgspec

from reference_impl.evaluation import InvalidFlag, compile_flag
from reference_impl.pop.flags import EVALUATORS, KEPT_AHEAD
from reference_impl.pop.shared.arena import StoreFull
from reference_impl.pop.shared.writer import Put
from reference_impl.propagation.store import RING, Store
from reference_impl.propagation.types import Change, FlagState, OrgState, RawFlagState, Snapshot
from reference_impl.resilience.errors import INVALID, CallError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reference_impl.pop.shared.writer import Writer

_log = logging.getLogger(__name__)

RING_BYTES: Final = 4 << 20  # of the changes kept for those who resume
_REFERS: Final = b'"$ref"'  # in a flag that uses shared rules
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class SharedStore(Store):
    """See `Store`. A definition that can't be compiled leaves that flag's last good version in place, is logged and counted.

    Raises `CallError` INVALID, with nothing changed, for data that doesn't fit: a stream or poll that brings it counts as lost.
    """

    def __init__(self, writer: Writer, ring: int = RING) -> None:
        super().__init__(ring)
        self.writer = writer
        self.rejected = 0
        self.rejection = ""  # why the last one was
        self._versions: dict[str, int] = {}  # of organisations
        self._kept = 0  # bytes of the changes
        self._ahead: OrderedDict[tuple[str, str], int] = OrderedDict()  # to the log position

    def __repr__(self) -> str:
        return f"<SharedStore seq={self.seq} {self.writer!r} kept={len(self._changes)}>"

    @property
    def empty(self) -> bool:
        return not self._versions

    @property
    def orgs(self) -> dict[str, OrgState]:
        """Made anew from the shared bytes; definitions are `msgspec.Raw`."""
        found = {name: OrgState(version) for name, version in self._versions.items()}
        for org, key, state in self._states():
            if state.seq <= self.seq and org in found:
                found[org].flags[key] = state
        return found

    def apply(self, change: Change) -> bool:
        """See `Sink.apply`."""
        if change.seq != self.seq + 1:
            return False
        data = None if change.flag is None else _encode(change.flag)
        with _told():
            self.writer.change(self._puts(change, data), change.seq)
        self._versions[change.org] = change.version
        self.seq, self.loaded = change.seq, True
        self._forget_what_arrived()
        self._keep(change, data)
        self._tell(change)
        return True

    def replace(self, snapshot: Snapshot) -> bool:
        """See `Sink.replace`."""
        if self.loaded and snapshot.seq <= self.seq:
            return False
        count = sum(len(org.flags) + 1 for org in snapshot.orgs.values())
        with _told():
            self.writer.replace(self._of(snapshot), count + len(self._ahead), snapshot.seq)
        self._versions = {name: org.version for name, org in snapshot.orgs.items()}
        self.seq, self.loaded = snapshot.seq, True
        self._forget_what_arrived()
        self._changes.clear()
        self._kept = 0
        self._tell(snapshot)
        return True

    def snapshot(self) -> Snapshot:
        return Snapshot(self.seq, self.orgs)

    def keep_ahead(self, org: str, key: str, state: FlagState) -> bool:
        """Take a flag that the origin has and the stream hasn't brought yet; false where it is not newer, is no good or too many are."""
        if state.seq <= self.seq or len(self._ahead) >= KEPT_AHEAD:
            return False
        data, rules = _encode(state.flag), self._rules(org)
        if not self._good(org, key, data, rules):
            return False
        try:
            self.writer.change([_put(org, key, state.seq, data, rules)], self.seq)
        except StoreFull as full:
            _log.warning("%s", full)
            return False
        self._ahead[org, key] = state.seq
        return True

    def _keep(self, change: Change, data: bytes | None) -> None:
        """For those who resume: so many changes, and so many bytes of them."""
        if len(self._changes) == self._changes.maxlen:
            self._drop_oldest()
        self._changes.append(
            Change(
                change.seq, change.org, change.version, change.key,
                None if data is None else msgspec.Raw(data),  # type: ignore[arg-type]  # as good as the object it was
                change.at,
            )
        )  # fmt: skip
        self._kept += len(data or b"")
        while self._kept > RING_BYTES:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        flag: Any = self._changes.popleft().flag
        self._kept -= len(bytes(flag or b""))

    # -- what is written ---------------------------------------------------------------------------------------------

    def _puts(self, change: Change, data: bytes | None) -> list[Put]:
        org, key = change.org, change.key
        if key == EVALUATORS:
            return [_put(org, key, change.seq, data), *self._with_rules(org, data or b"")]
        if self._ahead.get((org, key), 0) > change.seq:
            return []
        rules = self._rules(org)
        if data is not None and not self._good(org, key, data, rules):
            return []
        return [_put(org, key, change.seq, data, rules if data and _REFERS in data else b"")]

    def _with_rules(self, org: str, rules: bytes) -> Iterator[Put]:
        """The flags that use shared rules, with new ones; those that can't keep the old."""
        for key, version in self.writer.of(self.writer.last, _bytes(org)):
            seq, data, _ = self.writer.read(version)
            refers = _REFERS in data and key != EVALUATORS.encode()
            if refers and self._good(org, _text(key), data, rules):
                yield Put(_bytes(org), key, seq, data, rules)

    def _of(self, snapshot: Snapshot) -> Iterator[Put]:
        for org, state in snapshot.orgs.items():
            evaluators = state.flags.get(EVALUATORS)
            rules = _raw(evaluators) if evaluators else b""
            for key, flag in state.flags.items():
                yield self._newer(org, key, flag, b"" if key == EVALUATORS else rules)
        for (org, key), seq in self._ahead.items():
            if seq > snapshot.seq and (kept := self._present(org, key)) is not None:
                yield kept

    def _newer(self, org: str, key: str, flag: FlagState, rules: bytes) -> Put:
        """A flag of a snapshot, or the version that we have where the new one is no good."""
        data = _raw(flag)
        if _REFERS not in data:
            rules = b""
        present = self._present(org, key) if self.loaded and key != EVALUATORS else None
        if present is None or (present.seq, present.rules) == (flag.seq, rules):
            return _put(org, key, flag.seq, data, rules)  # compiled on first use
        return (
            _put(org, key, flag.seq, data, rules) if self._good(org, key, data, rules) else present
        )

    def _present(self, org: str, key: str) -> Put | None:
        writer, name = self.writer, (_bytes(org), _bytes(key))
        version = writer.version(writer.last, writer.entry(writer.last, *name))
        if not version:
            return None
        seq, data, rules = writer.read(version)
        return Put(*name, seq, data, rules)

    def _rules(self, org: str) -> bytes:
        present = self._present(org, EVALUATORS)
        return (present.data or b"") if present else b""

    def _good(self, org: str, key: str, data: bytes, rules: bytes) -> bool:
        try:
            compile_flag(key, _decode(data), _decode(rules) if rules else None)
        except (InvalidFlag, msgspec.DecodeError) as error:
            self.rejected += 1
            self.rejection = f"{org}: {error}"
            _log.warning("rejected, the last good version stays: %s", self.rejection)
            return False
        return True

    def _forget_what_arrived(self) -> None:
        for name in [name for name, seq in self._ahead.items() if seq <= self.seq]:
            del self._ahead[name]

    def _states(self) -> Iterator[tuple[str, str, FlagState]]:
        writer = self.writer
        for org in writer.organisations(writer.last):
            for key, version in writer.of(writer.last, org):
                seq, data, _ = writer.read(version)
                yield _text(org), _text(key), RawFlagState(seq, msgspec.Raw(data))


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except StoreFull as full:
        raise CallError(INVALID, str(full)) from None


def _put(org: str, key: str, seq: int, data: bytes | None, rules: bytes = b"") -> Put:
    return Put(_bytes(org), _bytes(key), seq, data, rules)


def _raw(state: FlagState) -> bytes:
    """A definition as bytes, whichever it came as."""
    flag: object = state.flag
    return bytes(flag) if isinstance(flag, msgspec.Raw) else _encode(flag)


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogatepass")


def _text(name: bytes) -> str:
    return name.decode(errors="surrogatepass")
