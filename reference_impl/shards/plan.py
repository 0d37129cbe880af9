"""What has to move when the number of shards is doubled. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction

from reference_impl.shards.shard import Owned, Shard, shards


class PlanError(ValueError):
    """What was asked for can't be done, in a line."""


def first_places(servers: Sequence[str], count: int) -> dict[str, list[Shard]]:
    """The shards of each server at first: as many for each, neighbours together."""
    found: dict[str, list[Shard]] = {server: [] for server in servers}
    for shard in shards(count):
        found[servers[shard.number * len(servers) // count]].append(shard)
    return found


def count_of(owned: Mapping[str, Iterable[Owned]]) -> int:
    """Into how many shards all are divided; the smaller number while they are doubled, 0 for none."""
    return min((one.shard.of for some in owned.values() for one in some), default=0)


def finished(owned: Mapping[str, Iterable[Owned]], count: int) -> bool:
    """There are `count` shards, and none is between two servers."""
    every = [one for some in owned.values() for one in some]
    return bool(every) and all(one.shard.of == count and one.open for one in every)


def holders(owned: Mapping[str, Iterable[Owned]], count: int) -> dict[Shard, str]:
    """The server of each of `count` shards, or of the half that keeps its number where it is split already.

    Raises `PlanError` where one is nowhere.
    """
    have = sorted(
        ((one, server) for server, some in owned.items() for one in some),
        key=lambda pair: pair[0].epoch,
    )
    at = {one.shard: server for one, server in have}
    found = {}
    for shard in shards(count):
        server = at.get(shard, at.get(shard.halves[0]))
        if server is None:
            raise PlanError(f"no server has shard {shard}")
        found[shard] = server
    return found


def moves(places: Mapping[Shard, str], servers: Sequence[str]) -> list[tuple[Shard, str, str]]:
    """For each shard, in their order: where it is, and where its new half is to be.

    A new half goes to the server with the least share of all organisations, and stays where that would even out nothing.
    """
    share = dict.fromkeys(servers, Fraction(0))
    for shard, server in places.items():
        share[server] = share.get(server, Fraction(0)) + Fraction(1, shard.of)
    found = []
    for shard, source in sorted(places.items()):
        half = Fraction(1, shard.of * 2)
        target = min(servers, key=lambda server: (share[server], servers.index(server)))
        if share[target] + half > share[source] - half:
            target = source
        share[source] -= half
        share[target] += half
        found.append((shard, source, target))
    return found
