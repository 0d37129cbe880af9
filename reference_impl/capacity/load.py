"""How loaded this process is: the CPU and memory that it uses, as shares of what it may use."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Final, Protocol

import msgspec

PERIOD: Final = 1.0  # s that a share of the CPU is of, at least


class Usage(Protocol):
    """What a process has used and has."""

    def cpu(self) -> float:
        """CPU time so far, s."""
        ...

    def memory(self) -> int:
        """Bytes in memory now."""
        ...


class OwnUsage:
    """A `Usage` of this process, by the kernel's word."""

    def cpu(self) -> float:
        return time.process_time()

    def memory(self) -> int:
        """Its proportional share (PSS): pages that several nodes' processes have in common count once in all."""
        for line in Path("/proc/self/smaps_rollup").read_text(encoding="ascii").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
        return 0


def machine_memory() -> int:
    """What there is in all, bytes: the limit where no other is set."""
    with Path("/proc/meminfo").open(encoding="ascii") as lines:
        return int(next(lines).split()[1]) * 1024


class LoadFigures(msgspec.Struct, frozen=True, omit_defaults=True):
    """`load` in a node's status. `cpu` is the share of one core, which is all that one event loop can use.

    `memory` is the share of its limit. `pops` and `latency_p99_ms` are a hub's; the latter is absent while no PoP echoes.
    """

    connections: int
    cpu: float
    memory: float
    pops: int | None = None
    latency_p99_ms: float | None = None


class Gauge:
    """`limit`: the bytes that the process may use; 0: all of the machine's."""

    def __init__(self, limit: int = 0, usage: Usage | None = None) -> None:
        self.limit = limit or machine_memory()
        self._usage = usage or OwnUsage()
        self._from: tuple[float, float] | None = None  # loop time and CPU time
        self._cpu = 0.0
        self._memory = 0.0

    def __repr__(self) -> str:
        return f"<Gauge cpu={self._cpu:.2f} memory={self._memory:.2f}>"

    def figures(
        self, connections: int, pops: int | None = None, latency_p99_ms: float | None = None
    ) -> LoadFigures:
        """The shares are anew at most each `PERIOD`, whoever asks how often."""
        self._look()
        return LoadFigures(
            connections, round(self._cpu, 4), round(self._memory, 4), pops, latency_p99_ms
        )

    def _look(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._from is not None and now - self._from[0] < PERIOD:
            return
        cpu = self._usage.cpu()
        if self._from is not None:
            began, used = self._from
            self._cpu = (cpu - used) / (now - began)
        self._from = (now, cpu)
        self._memory = self._usage.memory() / self.limit
