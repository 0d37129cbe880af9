"""What a node's processes use, as the harness itself saw it from outside: shares of a core and of memory over time."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.history import Processes
from harness.units import NS

if TYPE_CHECKING:
    from harness.history_io import History

LEAST = NS  # between two looks that a share of the CPU is of


def looks(history: History, node: str) -> list[Processes]:
    """Those at which its processes could be seen, in order."""
    found = [
        one for one in history.of(Processes) if one.node == node and not one.error and one.pids
    ]
    return sorted(found, key=lambda one: one.t)


def cpu_shares(history: History, node: str) -> list[tuple[int, float]]:
    """At each look, the share of one core that all its processes together used since a look at least a second before.

    Left out where its processes were not the same at both.
    """
    seen, shares = looks(history, node), []
    first = 0
    for n, look in enumerate(seen):
        while first + 1 < n and look.t - seen[first + 1].t >= LEAST:
            first += 1
        since = seen[first]
        if look.t - since.t >= LEAST and since.pids == look.pids and since.cpu and look.cpu:
            shares.append((look.t, (sum(look.cpu) - sum(since.cpu)) / (look.t - since.t)))
    return shares


def memory_shares(history: History, node: str, limit: float) -> list[tuple[int, float]]:
    """At each look, what all its processes together have in memory (PSS), as a share of `limit` bytes."""
    seen = looks(history, node)
    return [(one.t, sum(one.memory) / limit) for one in seen if min(one.memory, default=-1) >= 0]


@dataclass(frozen=True, slots=True)
class Spent:
    """CPU time (ns) that a node's processes used from `start` to `end`."""

    start: int
    end: int
    cpu: int


def cpu_between(history: History, node: str, start: int, end: int) -> Spent | None:
    """From the first to the last look in [start, end]; None without two, or where the processes were not the same throughout."""
    inside = [one for one in looks(history, node) if start <= one.t <= end and one.cpu]
    if len(inside) < 2 or any(a.pids != b.pids for a, b in itertools.pairwise(inside)):  # noqa: PLR2004 - a span has two ends
        return None
    return Spent(inside[0].t, inside[-1].t, sum(inside[-1].cpu) - sum(inside[0].cpu))
