"""Leases as one witness keeps them: who may act as the holder of a resource, in which epoch, and for how much longer.

Pure: time is given. An epoch belongs to one holder for ever, and epochs only rise, so two holders never share one; a
higher epoch is granted only when the lease before it has run out. A majority of witnesses then speaks for all (Gray and
Cheriton, "Leases", 1989; epochs are the fencing tokens).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import msgspec


class Lease(msgspec.Struct, frozen=True):
    """The part of a lease that outlives a restart. `ttl` in s, as last asked for."""

    holder: str = ""
    epoch: int = 0
    ttl: float = 0.0


class Answer(msgspec.Struct, frozen=True):
    """What a witness says: whether the one that asked is the holder now, who is, and for how long still, s."""

    granted: bool
    holder: str
    epoch: int
    left: float


@dataclass(frozen=True, slots=True)
class _Held:
    lease: Lease
    expires: float  # on the clock of the caller


class Leases:
    """One witness's book. `now` of every call in s, on one clock that never goes back."""

    def __init__(self) -> None:
        self._held: dict[str, _Held] = {}

    def __repr__(self) -> str:
        held = (f"{name}: {h.lease.holder} in {h.lease.epoch}" for name, h in self._held.items())
        return f"<Leases {'; '.join(held) or 'none'}>"

    @property
    def book(self) -> dict[str, Lease]:
        """What must be kept over a restart."""
        return {name: held.lease for name, held in self._held.items()}

    def load(self, book: dict[str, Lease], now: float) -> None:
        """After a restart nobody knows how much of a lease was left: all of it is assumed."""
        self._held = {name: _Held(lease, now + lease.ttl) for name, lease in book.items()}

    def look(self, name: str, now: float) -> Answer:
        held = self._held.get(name, _Held(Lease(), now))
        return Answer(False, held.lease.holder, held.lease.epoch, max(0.0, held.expires - now))

    def ask(self, name: str, holder: str, epoch: int, ttl: float, now: float) -> Answer:
        """Take the lease in a new epoch, or keep it in one's own. Whoever is refused learns who has it."""
        held = self._held.get(name, _Held(Lease(), now))
        own = (holder, epoch) == (held.lease.holder, held.lease.epoch)
        free = epoch > held.lease.epoch and now >= held.expires
        if own or free:
            self._held[name] = _Held(Lease(holder, epoch, ttl), max(now + ttl, held.expires))
        return msgspec.structs.replace(self.look(name, now), granted=own or free)

    def release(self, name: str, holder: str, epoch: int, now: float) -> None:
        """Its holder lets it go: a next epoch may begin at once."""
        held = self._held.get(name)
        if held is not None and (holder, epoch) == (held.lease.holder, held.lease.epoch):
            self._held[name] = replace(held, expires=now)
