"""One hub, from ten to ten thousand streams: memory, CPU and delay by their number, slow readers, and a storm of reconnections.

The hub is the platform's own, in a process of its own; it follows a stream that this process serves, and its subscribers are
real sockets in two lean processes. All share one machine. `at` is stamped where a change begins, so a delay is from there
through the hub to the subscriber, and on few cores most of it is the subscribers' own turn to read.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from benchmarks._common import Figure, Quiet, machine, parser, rounds_of, run_loop, show
from harness.crowd.process import CrowdProcess, Told
from harness.crowd.streams import Options
from harness.network.reach import Protocol, probe
from harness.priority import PLATFORM, set_nice
from harness.runtime import procfs
from harness.runtime.base import Address
from reference_impl.propagation.fanout import FanOut
from reference_impl.propagation.settings import FanOutSettings
from reference_impl.propagation.store import Store
from reference_impl.propagation.types import Change, OrgState, Snapshot
from reference_impl.web import Site, stream_handler

HOST = "127.66.67.1"
PORT = 8080
SIZES = (10, 100, 1000, 10_000)
QUICK = (10, 50)
WITHIN = 150.0  # s for anything to come about
SPREAD = 2.0  # s over which those that were cut come back
APART = 0.0003  # s for each stream between two changes, so that one is over before the next
IDLE = 3.0  # s of heartbeats alone
KIB = 1024
FLAG = {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "on"}
BIG = 60_000  # bytes of a change; a hundred of them are more than the kernel keeps for one that does not read
SLOW_FOR = 8.0  # s


class Upstream:
    """The stream that the hub follows."""

    def __init__(self) -> None:
        self.store = Store()
        self.site = Site(dict, lambda: None)
        self.site.get("/stream", stream_handler(FanOut(self.store, FanOutSettings())))
        self.store.replace(Snapshot(1, {"acme": OrgState(1)}))

    def change(self, size: int = 0) -> int:
        """One more; its position. `size`: bytes that it is the larger by."""
        seq = self.store.seq + 1
        flag = {**FLAG, "metadata": {"text": "x" * size}} if size else FLAG
        self.store.apply(Change(seq, "acme", seq, f"flag-{seq % 50}", flag, time.time_ns()))
        return seq


class HubProcess:
    """The hub, to be killed and begun anew at the same address."""

    def __init__(self, folder: Path, upstream_port: int, heartbeat: float) -> None:
        link = {"to": "up", "role": "stream", "host": "127.0.0.1", "port": upstream_port}
        node = {
            "name": "hub",
            "role": "hub",
            "listen": {"host": HOST, "port": PORT},
            "links": {"stream": [link]},
            "settings": {"reconnect_spread": 0.05, "stall": 2.0, "heartbeat": heartbeat},
        }
        self._file = folder / "hub.json"
        self._file.write_text(json.dumps(node))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def memory(self) -> int:
        return procfs.memory(self.pid) or 0

    @property
    def cpu(self) -> float:
        return procfs.cpu(self.pid) / 1e9

    async def start(self) -> None:
        program = [sys.executable, "-m", "reference_impl.main", str(self._file)]
        self._process = subprocess.Popen(program, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + WITHIN
        while not (await probe(Address(HOST, PORT), Protocol.HTTP, 1.0)).answered:
            if time.monotonic() > deadline:
                raise RuntimeError("the hub does not answer")
            await asyncio.sleep(0.02)

    def end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None


class Crowds:
    """Subscribers in one process, or in two of half of them."""

    def __init__(self, streams: int, slow: int = 0, slow_for: float = 0.0) -> None:
        parts = [streams] if streams < 100 else [streams // 2, streams - streams // 2]
        self.streams = streams
        self._parts = [
            CrowdProcess(
                Options(
                    HOST,
                    PORT,
                    part,
                    headers={"X-Node-Role": "pop"},
                    spread=SPREAD,
                    slow=slow if n == 0 else 0,
                    slow_for=slow_for,
                    receive_buffer=1 << 16 if slow else 0,
                )
            )
            for n, part in enumerate(parts)
        ]

    async def __aenter__(self) -> Self:
        await asyncio.gather(*(part.start() for part in self._parts))
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(part.end() for part in self._parts))

    async def ask(self, *, forget: bool = False) -> list[Told]:
        return await asyncio.gather(*(part.ask(forget=forget) for part in self._parts))

    async def until(self, position: int = 0) -> list[Told]:
        """All are open and have that position. Raises `RuntimeError` with what was seen."""
        deadline = time.monotonic() + WITHIN
        while True:
            told = await self.ask()
            if sum(one.open for one in told) == self.streams and all(
                one.first >= position for one in told
            ):
                return told
            if time.monotonic() > deadline:
                seen = [(one.open, one.first, one.last, one.error) for one in told]
                raise RuntimeError(f"{self.streams} streams, position {position}: {seen}")
            await asyncio.sleep(0.2)


@dataclass(frozen=True)
class Delays:
    """ms, by the worse of the crowd's processes; and what went wrong."""

    p50: float
    p99: float
    longest: float
    gaps: int
    closes: int

    @classmethod
    def of(cls, told: list[Told]) -> Delays:
        return cls(
            max(one.p50 for one in told),
            max(one.p99 for one in told),
            max(one.max for one in told),
            sum(one.gaps + one.repeats for one in told),
            sum(one.closes for one in told),
        )


@dataclass(frozen=True)
class Size:
    """What so many streams cost. `idle`: share of a core for heartbeats alone."""

    kib: float  # of memory, each
    idle: float
    us: float  # of CPU for a change, each
    delays: Delays


@asynccontextmanager
async def platform(heartbeat: float = 1.0) -> AsyncIterator[tuple[Upstream, HubProcess]]:
    upstream = Upstream()
    async with AsyncExitStack() as stack:
        await upstream.site.start("127.0.0.1", 0)
        stack.push_async_callback(upstream.site.stop)
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        hub = HubProcess(Path(folder), upstream.site.port, heartbeat)
        stack.callback(hub.end)
        await hub.start()
        yield upstream, hub


async def send(upstream: Upstream, crowds: Crowds, changes: int, pause: float) -> list[Told]:
    """Changes one after the other, until all have the last."""
    for _ in range(changes):
        upstream.change()
        await asyncio.sleep(pause)
    return await crowds.until(upstream.store.seq)


async def measure(streams: int, changes: int, heartbeat: float) -> Size:
    async with platform(heartbeat) as (upstream, hub):
        before = hub.memory
        async with Crowds(streams) as crowds:
            await crowds.until()
            await asyncio.sleep(1.0)
            kib = (hub.memory - before) / KIB / streams
            began, used, beats = time.monotonic(), hub.cpu, beats_of(await crowds.ask())
            await asyncio.sleep(IDLE)
            idle = (hub.cpu - used) / (time.monotonic() - began)
            more = beats_of(await crowds.ask(forget=True)) - beats
            each, beats, used = (hub.cpu - used) / max(1, more), beats + more, hub.cpu
            told = await send(upstream, crowds, changes, max(0.1, streams * APART))
            spent = hub.cpu - used - each * (beats_of(told) - beats)
            return Size(kib, idle, spent / changes / streams * 1e6, Delays.of(told))


def beats_of(told: list[Told]) -> int:
    return sum(one.heartbeats for one in told)


async def slow(streams: int, slow_ones: int, changes: int) -> tuple[Delays, Delays]:
    """Delays of readers that read, alone and beside some that don't; in the second also of how those fared."""
    async with platform() as (upstream, _), Crowds(streams) as crowds:
        await crowds.until()
        await crowds.ask(forget=True)
        alone = Delays.of(await big_ones(upstream, crowds, changes))
        async with Crowds(slow_ones, slow_ones, slow_for=SLOW_FOR) as sleepers:
            await sleepers.until()
            await crowds.ask(forget=True)
            beside = Delays.of(await big_ones(upstream, crowds, changes))
            fared = Delays.of(await sleepers.until(upstream.store.seq))
        assert beside.gaps == fared.gaps == 0, "a change is missing"
        return alone, Delays(beside.p50, beside.p99, beside.longest, fared.gaps, fared.closes)


async def big_ones(upstream: Upstream, crowds: Crowds, changes: int) -> list[Told]:
    for _ in range(changes):
        upstream.change(BIG)
        await asyncio.sleep(0.03)
    return await crowds.until(upstream.store.seq)


async def storm(streams: int, heartbeat: float) -> tuple[float, float]:
    """The hub dies and begins anew: s from its first answer until all streams are back; most that came in one tenth of a second."""
    async with platform(heartbeat) as (upstream, hub), Crowds(streams) as crowds:
        await crowds.until(upstream.store.seq)
        await crowds.ask(forget=True)
        hub.end()
        await hub.start()
        began = time.monotonic()
        told = await crowds.until(upstream.change())
        came = sorted(at - began for one in told for at in one.came)[-streams:]
        return came[-1], float(max(_tenths(came)))


def _tenths(times: list[float]) -> list[int]:
    counts: dict[int, int] = {}
    for at in times:
        counts[int(at * 10)] = counts.get(int(at * 10), 0) + 1
    return list(counts.values()) or [0]


def main(argv: list[str]) -> int:
    options = parser("fanout", __doc__)
    options.add_argument("--changes", type=int, default=20, help="for each number of streams")
    options.add_argument("--sizes", type=int, nargs="+", help="numbers of streams, rising")
    options.add_argument("--heartbeat", type=float, default=1.0, help="s from one to the next")
    asked = options.parse_args(argv)
    set_nice(PLATFORM)  # as in a run; what this process begins inherits it
    sizes = asked.sizes or (QUICK if asked.quick else SIZES)
    rounds, quiet = rounds_of(asked, usual=3, quick=1), Quiet(asked.quiet)
    print(f"{asked.changes} changes each; {machine()}")
    by_size: dict[int, list[Size]] = {size: [] for size in sizes}
    for _ in range(rounds):
        for size in sizes:
            quiet.wait()
            by_size[size].append(run_loop(lambda: measure(size, asked.changes, asked.heartbeat)))  # noqa: B023 - run at once
    for size, found in by_size.items():
        show(f"{size} streams", _figures(found))
    for small, large in itertools.pairwise(sizes):
        pairs = zip(by_size[small], by_size[large], strict=True)
        ratios = [more.us / less.us for less, more in pairs if less.us]
        show(f"{large} against {small}", [Figure("CPU of a change, each", "times", ratios)])
    middle = sizes[0] if asked.quick else 50
    found = [run_loop(lambda: slow(middle, 10, asked.changes * 5)) for _ in range(rounds)]
    show(
        f"{middle} streams, {BIG} bytes a change, 10 more that don't read for {SLOW_FOR:g} s",
        _slow(found),
    )
    storms = [run_loop(lambda: storm(sizes[-1], asked.heartbeat)) for _ in range(rounds)]
    title = f"{sizes[-1]} streams come back to a hub begun anew, spread over {SPREAD:g} s"
    show(
        title,
        [
            Figure("all back", "s", [last for last, _ in storms]),
            Figure("most in a tenth", "streams", [most for _, most in storms]),
        ],
    )
    print(quiet.told())
    return 0


def _figures(found: list[Size]) -> list[Figure]:
    return [
        Figure("memory, each", "KiB", [one.kib for one in found]),
        Figure("heartbeats", "% of a core", [one.idle * 100 for one in found]),
        Figure("CPU of a change, each", "µs", [one.us for one in found]),
        Figure("delay p50", "ms", [one.delays.p50 for one in found]),
        Figure("delay p99", "ms", [one.delays.p99 for one in found]),
        Figure("delay max", "ms", [one.delays.longest for one in found]),
        Figure("gaps and repeats", "changes", [float(one.delays.gaps) for one in found]),
    ]


def _slow(found: list[tuple[Delays, Delays]]) -> list[Figure]:
    return [
        Figure("delay p99, alone", "ms", [alone.p99 for alone, _ in found]),
        Figure("delay p99, beside", "ms", [beside.p99 for _, beside in found]),
        Figure("slow ones cut", "times", [float(beside.closes) for _, beside in found]),
        Figure("changes they lack", "changes", [float(beside.gaps) for _, beside in found]),
    ]
