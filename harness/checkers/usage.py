"""What a node's processes use, as the harness itself saw it from outside: shares of a core and of memory over time."""

from __future__ import annotations

import itertools
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.checkers.base import windows
from harness.history import Filled, Processes
from harness.units import NS

if TYPE_CHECKING:
    from harness.history_io import History

LEAST_LOOKS = 3  # in a phase, for a middle one to say something
LEAST = NS  # between two looks that a share of the CPU is of


def looks(history: History, node: str) -> list[Processes]:
    """Those at which its processes could be seen, in order."""
    found = [
        one for one in history.of(Processes) if one.node == node and not one.error and one.pids
    ]
    return sorted(found, key=lambda one: one.t)


def looks_in(history: History, node: str, phase: str) -> list[Processes]:
    """All in a phase, failed ones too; none where there is no such phase."""
    spans = windows(history, phase)
    return [
        look
        for look in history.of(Processes)
        if look.node == node and any(look.t in span for span in spans)
    ]


def memory_doubts(looks: list[Processes], node: str, phase: str) -> list[str]:
    """Why the memory of a node in a phase is not known from these."""
    doubts = []
    if len(looks) < LEAST_LOOKS:
        doubts.append(f"{node} was looked at {len(looks)} times in the phase {phase}")
    errors = [look.error for look in looks if look.error]
    if errors:
        doubts.append(f"its processes could not be seen: {errors[0]}")
    elif any(size < 0 for look in looks for size in look.memory):
        doubts.append("the memory of its processes could not be read")
    return doubts


def middle_memory(looks: list[Processes]) -> tuple[float, float]:
    """The middle one of what all its processes together had in memory (PSS), and how far single looks lie from it; in bytes."""
    totals = [sum(look.memory) for look in looks]
    middle = statistics.median(totals)
    return middle, max(abs(total - middle) for total in totals)


def filled_between(history: History, before: list[Processes], after: list[Processes]) -> int:
    """The bytes of flags that were written after the last look `before` and ahead of the first `after`."""
    return sum(f.size for f in history.of(Filled) if before[-1].t < f.t < after[0].t)


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
