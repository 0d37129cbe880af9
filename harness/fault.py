"""What a fault is: inject, prove that it bit, heal, prove that it healed.

A fault is a frozen data class; its fields are what a scenario writes. Concrete faults live in the package `faults`
and in any package that declares the entry point group "squall.faults"; the engine finds them there by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import msgspec

from harness.history import Event
from harness.runtime.base import Cluster


class Proof(msgspec.Struct, frozen=True):
    """What was seen from outside. `bit` False makes every verdict that rests on the fault unknown."""

    bit: bool
    seen: str


class Undo(msgspec.Struct, frozen=True, kw_only=True):
    """One act that undoes a part of a fault, written to the ledger before the act it undoes. Safe to carry out twice.

    `action` is one of "resume", "start", "connect", "lift" (subject: a node), "restore" (a link), "remove-toxic" (a link;
    `detail` names the toxic), "mend" (a node; `detail` is a `harness.runtime.spot.Spot`).
    """

    action: str
    subject: str
    detail: str = ""


class Fault(Protocol):
    """Implement this with a frozen data class; `name` is how a scenario calls it.

    `inject` and `heal` are idempotent. `verify` and `verify_healed` look from outside (a connection, the operating
    system's process state), never at what inject believes it did; they wait for their condition up to a deadline
    of their own and then return ``Proof(bit=False, seen=<what was last seen>)``.
    For `verify_healed`, `Proof.bit` True means: shown to have healed.
    """

    name: ClassVar[str]
    colour: ClassVar[str]  # of its band in timelines, "#rrggbb"

    def targets(self, cluster: Cluster) -> tuple[str, ...]:
        """The names of nodes and links that it touches."""
        ...

    def check(self, cluster: Cluster) -> None:
        """Raise ValueError with one clear line when the cluster has no such node, link, zone or region."""

    def undo(self, cluster: Cluster) -> tuple[Undo, ...]:
        """What must be done to undo it, in the order in which to do it."""
        ...

    async def inject(self, cluster: Cluster) -> None: ...

    async def verify(self, cluster: Cluster) -> Proof: ...

    async def heal(self, cluster: Cluster) -> None: ...

    async def verify_healed(self, cluster: Cluster) -> Proof: ...


@runtime_checkable
class Witness(Protocol):
    """A fault that itself sees something of the platform while it is in force."""

    def witnessed(self, origin: int) -> tuple[Event, ...]:
        """What it saw, once it is healed, for the history; `origin` is the monotonic clock in ns at the history's t = 0."""
        ...


@dataclass(frozen=True, slots=True)
class FaultInfo:
    name: str
    summary: str
    cls: type[Fault]
