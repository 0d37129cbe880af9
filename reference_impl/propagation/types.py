"""What travels from the origin to the PoPs: changes, snapshots and heartbeats (docs/architecture.md, "The stream")."""

from __future__ import annotations

from typing import Any

import msgspec

Flag = dict[str, Any]  # a flagd flag definition, as its author wrote it


class Change(msgspec.Struct, frozen=True):
    """One committed write. `seq` is its place in the log of all changes, `version` in its organisation's.

    `flag` is None where the flag was deleted. `at` is the commit's Unix time in ns.
    """

    seq: int
    org: str
    version: int
    key: str
    flag: Flag | None
    at: int


class FlagState(msgspec.Struct, frozen=True):
    """A flag as it is, and the log position of its last change."""

    seq: int
    flag: Flag


class OrgState(msgspec.Struct):
    version: int = 0
    flags: dict[str, FlagState] = {}


class Snapshot(msgspec.Struct, frozen=True):
    """Everything at log position `seq`."""

    seq: int
    orgs: dict[str, OrgState]


class Heartbeat(msgspec.Struct, frozen=True, omit_defaults=True):
    """The sender's log position. All it has up to there was sent before.

    `at`: the sender's monotonic clock in ns, where it wants to know when this was read (`POST /echo`); nobody else's
    business, as it compares with no other clock.
    """

    seq: int
    at: int = 0


class Prewarm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A flag became hot at the PoP `by`: all PoPs make ready for it. `id` is of that hot period, the same everywhere."""

    id: str
    org: str
    key: str
    by: str


class RawFlagState(FlagState, frozen=True):
    """A flag whose definition stays the bytes that came."""

    flag: msgspec.Raw  # type: ignore[assignment]


class RawOrgState(OrgState):
    flags: dict[str, RawFlagState] = {}  # type: ignore[assignment]


class RawSnapshot(Snapshot, frozen=True):
    """A snapshot for a receiver that keeps bytes: as objects, it would need several times the memory."""

    orgs: dict[str, RawOrgState]  # type: ignore[assignment]
