"""Where a platform says that its organisations are, as an answer to a call of the scenario.

`{"shards": 16, "organisations": 2, "servers": {"db-1": {"0": ["acme"], "1": []}, "db-2": {"2": ["umbra"]}}}`: on each server, by the number
of the shard, the organisations of which it has anything. Under a name that is no number are those that are on no shard there.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from harness.history import Call

if TYPE_CHECKING:
    from harness.history_io import History

NOWHERE = -1  # the shard of what is on a server without being on a shard there


class _Answer(msgspec.Struct, frozen=True):
    shards: int
    organisations: int
    servers: dict[str, dict[str, list[str]]]


@dataclass(frozen=True, slots=True)
class Place:
    server: str
    shard: int

    def __str__(self) -> str:
        return f"{self.server}, shard {self.shard if self.shard != NOWHERE else 'none'}"


@dataclass(frozen=True, slots=True)
class Listing:
    """`sent` and `t`: when it was asked for and answered, ns. `doubt`: why it says nothing; "" where it does."""

    label: str
    sent: int = 0
    t: int = 0
    shards: int = 0
    places: dict[str, tuple[Place, ...]] | None = None
    doubt: str = ""

    def of(self, org: str) -> tuple[Place, ...]:
        return (self.places or {}).get(org, ())

    def server(self, org: str) -> str:
        """The only one that has it; "" where that is not so."""
        places = self.of(org)
        return places[0].server if len(places) == 1 else ""


def listing(history: History, label: str) -> Listing:
    """The answer to the last call of that label."""
    calls = [each for each in history.of(Call) if each.label == label]
    if not calls:
        return Listing(label, doubt=f"the call {label} was not made")
    made = calls[-1]
    if made.error or made.status != 200:  # noqa: PLR2004 - OK
        return Listing(
            label, doubt=f"the call {label} was not answered: {made.error or made.status}"
        )
    return _read(made)


def _read(made: Call) -> Listing:
    try:
        answer = msgspec.convert(made.data, _Answer)
    except msgspec.ValidationError as error:
        return Listing(made.label, doubt=f"{made.label} is no list of organisations: {error}")
    places: dict[str, list[Place]] = defaultdict(list)
    for server, by_shard in answer.servers.items():
        for number, orgs in by_shard.items():
            for org in orgs:
                places[org].append(Place(server, int(number) if number.isdigit() else NOWHERE))
    listed = sum(len(some) for some in places.values())
    found: dict[str, Any] = {"sent": made.sent, "t": made.t, "shards": answer.shards}
    if listed != answer.organisations:
        doubt = f"{made.label} lists {listed} of {answer.organisations} organisations"
        return Listing(made.label, doubt=doubt, **found)
    return Listing(made.label, places={org: tuple(at) for org, at in places.items()}, **found)


def org_of(key: str) -> str:
    """The organisation of a key that is written "org/key"."""
    return key.rpartition("/")[0] or "default"
