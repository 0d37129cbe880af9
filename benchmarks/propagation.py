"""How long a change takes from the write until a subscriber of each PoP has it.

A whole three-region platform runs. One probe writes through the API's load balancer, one subscriber per PoP reads the
PoP's stream. The way of a change: API, PostgreSQL, stream server, hub, PoP, subscriber. Between any two nodes it goes
through the link's own toxiproxy, which is always there; the probes dial the balancer and the PoPs directly. All
processes share one machine: no network distance is in the figures.

Two delays are given. From the acknowledgement: what a writer sees; it is negative where the PoP's subscriber had the
change before the writer had the answer. From `at`: from when the API server stamped the change, just before the
transaction; it is the longer one, as it has the commit in it. Aim: 99 % within 50 ms.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks._common import TOPOLOGIES, Figure, Quiet, machine, parser, rounds_of, run_loop, show
from harness.checkers.base import quantile
from harness.errors import RuntimeFailure
from harness.history import Complete, Event, Stream
from harness.probes import Site, SubscribeProbe, WriteProbe
from harness.runtime.process import ProcessRuntime
from harness.target import Target
from harness.topology_yaml import load_topology
from harness.units import now_ns

MS = 1e6  # ns
ARRIVE_WITHIN = 15.0  # s, for the last change of a round
FIGURES: dict[str, Callable[[list[float]], float]] = {
    "p50": lambda values: quantile(values, 0.5),
    "p99": lambda values: quantile(values, 0.99),
    "max": max,
}


@dataclass(frozen=True)
class Round:
    """Delays in ms, by PoP."""

    from_ack: dict[str, list[float]]
    from_at: dict[str, list[float]]


class Watch:
    """Receives what the probes record."""

    def __init__(self) -> None:
        self.acked: dict[int, int] = {}  # log position -> ns since the origin
        self.refused: list[str] = []
        self.seen: dict[str, dict[int, Stream]] = defaultdict(dict)  # PoP -> position -> change
        self.open: set[str] = set()
        self._heard = asyncio.Event()

    def __repr__(self) -> str:
        seen = ", ".join(f"{pop}: {len(changes)}" for pop, changes in self.seen.items())
        return f"<Watch {len(self.acked)} acknowledged; seen {seen or 'nothing'}>"

    def record(self, event: Event) -> None:
        if isinstance(event, Complete):
            if event.outcome == "ok":
                self.acked[event.version] = event.t
            else:
                self.refused.append(event.error)
        elif isinstance(event, Stream):
            if event.what == "snapshot":
                self.open.add(event.probe)
            elif event.what == "change":
                self.seen[event.probe].setdefault(event.id, event)
        self._heard.set()

    async def until(self, met: Callable[[], bool], what: str) -> None:
        """Raises `RuntimeFailure` at the deadline, with what was seen."""
        try:
            async with asyncio.timeout(ARRIVE_WITHIN):
                while not met():
                    self._heard.clear()
                    await self._heard.wait()
        except TimeoutError:
            raise RuntimeFailure(f"{what} within {ARRIVE_WITHIN:g} s: {self!r}") from None


async def one_round(
    site: Site, watch: Watch, pops: list[str], rate: float, seconds: float
) -> Round:
    stop_writing, stop_reading = asyncio.Event(), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for pop in pops:
            group.create_task(SubscribeProbe(name=pop, node=pop).run(site, stop_reading))
        await watch.until(lambda: watch.open >= set(pops), "not every PoP's stream was open")
        writer = group.create_task(WriteProbe(name="writer", rate=rate).run(site, stop_writing))
        asyncio.get_running_loop().call_later(seconds, stop_writing.set)
        await writer
        await watch.until(
            lambda: all(watch.acked.keys() <= watch.seen[pop].keys() for pop in pops),
            "not every change arrived",
        )
        stop_reading.set()
    return delays(watch, pops, site.origin_ns)


def delays(watch: Watch, pops: list[str], origin_ns: int) -> Round:
    wall = time.time_ns() - (now_ns() - origin_ns)  # Unix time at the origin
    seen = {pop: [(n, watch.seen[pop][n]) for n in watch.acked] for pop in pops}
    return Round(
        {pop: [(s.t - watch.acked[n]) / MS for n, s in some] for pop, some in seen.items()},
        {pop: [(s.t + wall - s.at) / MS for _, s in some] for pop, some in seen.items()},
    )


async def measure(
    rounds: int, seconds: float, rate: float, quiet: Quiet, topology_name: str
) -> list[Round]:
    topology = load_topology(TOPOLOGIES / f"{topology_name}.yaml")
    pops = [node.name for node in topology.nodes_of("pop")]
    found: list[Round] = []
    with tempfile.TemporaryDirectory() as folder, ProcessRuntime() as runtime:
        plan = runtime.plan(topology, Path(folder))
        async with await runtime.start(plan):
            for n in range(rounds + 1):
                if n:
                    await asyncio.to_thread(quiet.wait)
                watch = Watch()
                site = Site(plan, Target(), watch.record, now_ns())
                one = await one_round(site, watch, pops, rate, seconds if n else min(1.0, seconds))
                if watch.refused:
                    print(f"{len(watch.refused)} writes failed: {sorted(set(watch.refused))}")
                if n:  # the first one warms up
                    found.append(one)
    return found


def figures(rounds: list[dict[str, list[float]]]) -> list[Figure]:
    """p50, p99 and max of each round, for each PoP."""
    return [
        Figure(f"{pop} {name}", "ms", [pick(one[pop]) for one in rounds])
        for pop in rounds[0]
        for name, pick in FIGURES.items()
    ]


def main(argv: list[str]) -> int:
    options_of = parser("propagation", __doc__)
    options_of.add_argument("--seconds", type=float, help="of writing in each round")
    options_of.add_argument("--rate", type=float, default=20.0, help="writes per second")
    options_of.add_argument("--topology", default="three-regions")
    options = options_of.parse_args(argv)
    rounds = rounds_of(options, usual=5, quick=2)
    seconds = options.seconds or (3.0 if options.quick else 20.0)
    quiet = Quiet(options.quiet)
    print(machine())
    found = run_loop(lambda: measure(rounds, seconds, options.rate, quiet, options.topology))
    writes = [len(next(iter(one.from_ack.values()))) for one in found]
    print(f"{options.topology}, {options.rate:g} writes/s, acknowledged per round: {writes}")
    show("from the acknowledgement to the PoP's subscriber", figures([r.from_ack for r in found]))
    show("from the change's `at` to the PoP's subscriber", figures([r.from_at for r in found]))
    print(quiet.told())
    return 0
