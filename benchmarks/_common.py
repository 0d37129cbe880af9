"""What the benchmarks share: options, the machine they ran on, quiet moments, tables."""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import statistics
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil
import uvloop

TOPOLOGIES = Path(__file__).parent.parent / "suites" / "topologies"
QUIET_SHARE = 0.15  # of all cores that may be busy before a round
LOOK_S = 0.2  # a tick of the CPU clocks is 10 ms

T = TypeVar("T")


@dataclass(frozen=True)
class Figure:
    """One measured quantity; a value for each round."""

    name: str
    unit: str
    values: Sequence[float]

    @property
    def row(self) -> tuple[str, ...]:
        low, high = min(self.values), max(self.values)
        numbers = (low, statistics.median(self.values), high)
        return (self.name, self.unit, *map(_short, numbers), str(len(self.values)))


def _short(value: float) -> str:
    digits = 0 if abs(value) >= 1000 else 1 if abs(value) >= 100 else 2
    return f"{value:,.{digits}f}"


def show(title: str, figures: Sequence[Figure]) -> None:
    """Print a table: min, median and max over the rounds."""
    rows = [("", "", "min", "median", "max", "rounds"), *(figure.row for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(6)]
    print(title)
    for row in rows:
        texts = [f"{cell:<{width}}" for cell, width in zip(row[:2], widths, strict=False)]
        numbers = [f"{cell:>{width}}" for cell, width in zip(row[2:], widths[2:], strict=True)]
        print("  " + "  ".join(texts + numbers))


def machine() -> str:
    """Cores, CPU model, Python, kernel, and how busy the machine was over the last minute."""
    return (
        f"{len(os.sched_getaffinity(0))} cores, {_cpu()}, "
        f"Python {platform.python_version()}, {platform.system()} {_kernel()}, "
        f"load average {os.getloadavg()[0]:.2f}"
    )


def _kernel() -> str:
    return ".".join(platform.release().split(".")[:2])


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


def parser(name: str, about: str | None) -> argparse.ArgumentParser:
    """The options of every benchmark."""
    made = argparse.ArgumentParser(prog=f"benchmarks {name}", description=about)
    made.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    made.add_argument("--rounds", type=int, help="instead of the usual number")
    made.add_argument(
        "--quiet",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="before each round wait up to so long until other work leaves the cores idle",
    )
    return made


def rounds_of(options: argparse.Namespace, usual: int, quick: int) -> int:
    """How many rounds were asked for."""
    asked: int | None = options.rounds
    return max(1, asked if asked is not None else quick if options.quick else usual)


class Quiet:
    """Waits for quiet moments and counts how often there was none."""

    def __init__(self, within: float) -> None:
        self._within = within
        self._busy: list[float] = []

    def __repr__(self) -> str:
        return f"<Quiet {len(self._busy)} rounds, {self.loud} loud>"

    @property
    def loud(self) -> int:
        return sum(share > QUIET_SHARE for share in self._busy)

    def wait(self) -> None:
        """Until at most `QUIET_SHARE` of the cores is busy, or the time is over. Blocks."""
        deadline = time.monotonic() + self._within
        while True:
            share = psutil.cpu_percent(interval=LOOK_S) / 100
            if share <= QUIET_SHARE or time.monotonic() >= deadline:
                break
        self._busy.append(share)

    def told(self) -> str:
        """How busy the cores were just before the rounds, and the load average now."""
        middle, most = statistics.median(self._busy), max(self._busy)
        return (
            f"noise: just before a round {middle:.0%} of the cores was busy (median), {most:.0%} at most; "
            f"more than {QUIET_SHARE:.0%} before {self.loud} of {len(self._busy)} rounds; "
            f"load average now {os.getloadavg()[0]:.2f}"
        )


def run_loop(make: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine on the event loop that the harness's own runs use."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(make())
