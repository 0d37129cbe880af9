"""Degradation levels of a PoP as a pure state machine ("Graceful Degradation", "Degradation Levels").

The levels form a chain: HEALTHY, DEGRADED_L1, DEGRADED_L2, EMERGENCY. What works says which level is the target; the
machine walks to it one neighbour at a time, records each step, and never skips one. docs/decisions.md says why.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Final

# A node that flaps for days keeps its last steps only; `n` shows a reader that earlier ones are gone.
KEPT_TRANSITIONS: Final = 1000


class Level(StrEnum):
    """The level's name is what `/status` and an answer's metadata show."""

    HEALTHY = "HEALTHY"  # real-time streaming
    DEGRADED_L1 = "DEGRADED_L1"  # polls the edge KV
    DEGRADED_L2 = "DEGRADED_L2"  # memory only
    EMERGENCY = "EMERGENCY"  # packaged boolean defaults only


CHAIN: Final = tuple(Level)

# By the upper of two neighbours: the dependency that carries it, and the two edges of the diagram.
_EDGES: Final = {
    Level.HEALTHY: ("streaming", "streaming disconnected", "streaming restored"),
    Level.DEGRADED_L1: ("kv", "KV unavailable", "KV restored"),
    Level.DEGRADED_L2: ("origin", "origin unreachable", "origin restored"),
}


@dataclass(frozen=True, slots=True)
class Dependencies:
    """What works right now. `streaming` and `kv` are true only once they have brought usable data."""

    streaming: bool = False
    kv: bool = False
    origin: bool = False

    @property
    def target(self) -> Level:
        """The level that fits: streaming counts first, then the KV, then the origin."""
        if self.streaming:
            return Level.HEALTHY
        if self.kv:
            return Level.DEGRADED_L1
        if self.origin:
            return Level.DEGRADED_L2
        return Level.EMERGENCY


@dataclass(frozen=True, slots=True)
class Errors:
    """The class of each dependency's last failure ("TIMEOUT", "CONNECTION_REFUSED" …); empty if it never failed."""

    streaming: str = ""
    kv: str = ""
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Transition:
    """One step between neighbours. `n` counts from 1; `at` is ns of the monotonic clock."""

    n: int
    at: int
    source: Level
    to: Level
    reason: str


def steps(level: Level, target: Level) -> list[tuple[Level, Level]]:
    """The walk through the chain from `level` to `target`, neighbour by neighbour; empty when already there."""
    here, there = CHAIN.index(level), CHAIN.index(target)
    direction = 1 if there > here else -1
    return list(pairwise(CHAIN[i] for i in range(here, there + direction, direction)))


def reason(source: Level, to: Level, deps: Dependencies, errors: Errors) -> str:
    """Why this step was made, in the words of the specification's diagram where they are true.

    On the way up a step can be made for a better dependency than its own: the KV answers while the origin is still
    down, so EMERGENCY is left "on the way" to DEGRADED_L1.
    """
    upper = min(source, to, key=CHAIN.index)
    dependency, lost, restored = _EDGES[upper]
    if to is not upper:
        error: str = getattr(errors, dependency)
        return f"{lost}: {error}" if error else lost
    return restored if getattr(deps, dependency) else f"on the way to {deps.target}"


class LevelMachine:
    """Holds the level of one PoP. Starts in EMERGENCY: a node that has heard from nobody knows only its defaults."""

    def __init__(self, level: Level = Level.EMERGENCY) -> None:
        self.level = level
        self.count = 0
        self.transitions: deque[Transition] = deque(maxlen=KEPT_TRANSITIONS)

    def __repr__(self) -> str:
        return f"<LevelMachine {self.level} after {self.count} transitions>"

    def observe(
        self, deps: Dependencies, at: int, errors: Errors | None = None
    ) -> list[Transition]:
        """Walk to the level that `deps` call for, at once and step by step; return the steps. `at`: monotonic ns."""
        walked = []
        for source, to in steps(self.level, deps.target):
            self.count += 1
            why = reason(source, to, deps, errors or Errors())
            walked.append(Transition(self.count, at, source, to, why))
            self.level = to
        self.transitions.extend(walked)
        return walked
