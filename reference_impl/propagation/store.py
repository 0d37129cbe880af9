"""What a node knows of all organisations' flags, and the last changes that led there. It never goes back."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol

from reference_impl.propagation.types import Change, FlagState, OrgState, Snapshot

RING = 10_000  # changes kept for those who resume
Listener = Callable[[Change | Snapshot], None]


class Sink(Protocol):
    """Where a subscriber puts what it receives."""

    @property
    def seq(self) -> int:
        """Position of the last change that is in; 0 before the first."""
        ...

    @property
    def loaded(self) -> bool:
        """False until data came from anywhere: an empty platform is not the same as one we know nothing of."""
        ...

    @property
    def empty(self) -> bool:
        """No organisation is known."""
        ...

    def apply(self, change: Change) -> bool:
        """Take the change that follows `seq`. False, and no effect, for any other."""
        ...

    def replace(self, snapshot: Snapshot) -> bool:
        """Take the place of everything. False, and no effect, where the snapshot is not newer."""
        ...


class Store:
    """A `Sink` in memory. Listeners are called after each effect, in order, with the cause."""

    def __init__(self, ring: int = RING) -> None:
        self.seq = 0
        self.loaded = False
        self._orgs: dict[str, OrgState] = {}
        self._changes: deque[Change] = deque(maxlen=ring)
        self._listeners: list[Listener] = []

    def __repr__(self) -> str:
        return f"<Store seq={self.seq} orgs={len(self.orgs)} kept={len(self._changes)}>"

    @property
    def orgs(self) -> dict[str, OrgState]:
        """All organisations by name."""
        return self._orgs

    @property
    def empty(self) -> bool:
        return not self.orgs

    def listen(self, listener: Listener) -> None:
        self._listeners.append(listener)

    def apply(self, change: Change) -> bool:
        """See `Sink.apply`."""
        if change.seq != self.seq + 1:
            return False
        org = self._orgs.setdefault(change.org, OrgState())
        org.version = change.version
        if change.flag is None:
            org.flags.pop(change.key, None)
        else:
            org.flags[change.key] = FlagState(change.seq, change.flag)
        self.seq = change.seq
        self.loaded = True
        self._changes.append(change)
        self._tell(change)
        return True

    def replace(self, snapshot: Snapshot) -> bool:
        """See `Sink.replace`. The changes in between are not known, so nobody can resume from before."""
        if self.loaded and snapshot.seq <= self.seq:
            return False
        self._orgs = {
            name: OrgState(org.version, dict(org.flags)) for name, org in snapshot.orgs.items()
        }
        self.seq = snapshot.seq
        self.loaded = True
        self._changes.clear()
        self._tell(snapshot)
        return True

    def changes_since(self, seq: int, limit: int) -> list[Change] | None:
        """At most `limit` changes from `seq` + 1 on; None where they are no longer kept."""
        missing = self.seq - seq
        if missing <= 0:
            return []
        if missing > len(self._changes):
            return None
        first = len(self._changes) - missing
        return [self._changes[i] for i in range(first, min(first + limit, len(self._changes)))]

    def snapshot(self) -> Snapshot:
        """A copy that later changes don't touch."""
        orgs = {name: OrgState(org.version, dict(org.flags)) for name, org in self.orgs.items()}
        return Snapshot(self.seq, orgs)

    def _tell(self, cause: Change | Snapshot) -> None:
        for listener in self._listeners:
            listener(cause)


def replay(changes: Iterable[Change]) -> Snapshot:
    """The state that a whole log from its first change leads to."""
    store = Store()
    for change in changes:
        if not store.apply(change):
            raise ValueError(f"change {change.seq} does not follow {store.seq}")
    return store.snapshot()
