"""The store of a PoP with tiers: of each flag only the log position of its last change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from reference_impl.pop.flags import EVALUATORS
from reference_impl.propagation.store import Store

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reference_impl.propagation.types import Change, Snapshot

_NONE: Final[Mapping[str, int]] = {}


class TieredStore(Store):
    """See `Store`; but `orgs` stays empty, and nobody can resume from it. Shared rules have no position here.

    The position of a flag is the newest that is known, also where somebody else than the stream told it: nothing older
    is taken for that flag from then on.
    """

    def __init__(self) -> None:
        super().__init__(ring=1)
        self._positions: dict[str, dict[str, int]] = {}

    def __repr__(self) -> str:
        return f"<TieredStore seq={self.seq} orgs={len(self._positions)}>"

    @property
    def empty(self) -> bool:
        return not self._positions

    @property
    def count(self) -> int:
        """How many flags are known."""
        return sum(map(len, self._positions.values()))

    def position(self, org: str, key: str) -> int | None:
        """Of a flag's last change; None for a flag that is not known."""
        return self._positions.get(org, _NONE).get(key)

    def of(self, org: str) -> Mapping[str, int]:
        """Key to position."""
        return self._positions.get(org, _NONE)

    def learn(self, org: str, key: str, seq: int) -> None:
        """Somebody else has this flag at this position."""
        own = self._positions.setdefault(org, {})
        own[key] = max(seq, own.get(key, 0))

    def apply(self, change: Change) -> bool:
        """See `Sink.apply`."""
        if change.seq != self.seq + 1:
            return False
        own = self._positions.setdefault(change.org, {})
        if change.key != EVALUATORS and own.get(change.key, 0) < change.seq:
            if change.flag is None:
                own.pop(change.key, None)
            else:
                own[change.key] = change.seq
        self.seq, self.loaded = change.seq, True
        self._tell(change)
        return True

    def replace(self, snapshot: Snapshot) -> bool:
        """See `Sink.replace`."""
        if self.loaded and snapshot.seq <= self.seq:
            return False
        before = self._positions
        self._positions = {
            name: {key: state.seq for key, state in org.flags.items() if key != EVALUATORS}
            for name, org in snapshot.orgs.items()
        }
        for name, flags in before.items():
            for key, seq in flags.items():
                if seq > snapshot.seq:
                    self.learn(name, key, seq)
        self.seq, self.loaded = snapshot.seq, True
        self._tell(snapshot)
        return True

    def changes_since(self, seq: int, limit: int) -> list[Change] | None:  # noqa: ARG002 - none are kept
        """See `Store.changes_since`."""
        return [] if seq >= self.seq else None
