"""Units: seconds as floats in what users write, nanoseconds of one monotonic clock in what is recorded."""

from __future__ import annotations

import time
from typing import NewType

# In YAML "100ms", "10s", "5min" or a bare number of seconds; in Python a float.
Seconds = NewType("Seconds", float)

NS = 1_000_000_000


def now_ns() -> int:
    """CLOCK_MONOTONIC in ns: one clock for every process of a machine; asyncio's ``loop.time()`` is the same in s."""
    return time.monotonic_ns()


def to_ns(seconds: float) -> int:
    return round(seconds * NS)


def to_s(ns: int) -> float:
    return ns / NS
