"""What one request of an evaluation probe costs the measuring process, and the least delay that it can see.

The probe asks a server in a process of its own on another core, the PoP's own data path with one flag in memory. CPU
time is that of the measuring process for each request: schedule, HTTP, reading the answer, two history events on a
file. `late` is how much later than due a request was sent; `latency` counts from then on, and is the floor
under every latency that a scenario shows.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks._common import Figure, Quiet, machine, parser, rounds_of, run_loop, show
from benchmarks.evaluation import HOST, Server
from harness.checkers.base import quantile
from harness.errors import RuntimeFailure
from harness.history import SCHEMA, Header
from harness.history_io import History, HistoryWriter
from harness.probes import EvaluateProbe, Site
from harness.runtime.base import Address, Plan
from harness.target import Target
from harness.topology import Endpoints, Node, Topology
from harness.units import NS, now_ns

RATES = (100, 500, 1000)  # requests per second
US, MS = 1e3, 1e6  # ns


@dataclass(frozen=True)
class Round:
    """`cpu` in us per request, the others in ms."""

    cpu: float
    late: float
    p50: float
    p99: float


def site_at(port: int, folder: Path, record: HistoryWriter, origin: int) -> Site:
    """A site with one node, whatever serves at `port`."""
    node = Node("pop", "pop", "z", "r")
    topology = Topology("one", "none", {"r": ("z",)}, {"pop": node}, {}, {}, Endpoints("pop"))
    nowhere = Address(HOST, 0)
    plan = Plan(topology, folder, {"pop": Address(HOST, port)}, {}, {}, {}, nowhere)
    return Site(plan, Target(), record.write, origin)


async def probe_for(seconds: float, site: Site, rate: float) -> float:
    """Returns the CPU time of this process in s."""
    stop = asyncio.Event()
    probe = EvaluateProbe(name="probe", keys=("dark-mode",), node="pop", org="acme", rate=rate)
    asyncio.get_running_loop().call_later(seconds, stop.set)
    before = time.process_time()
    await probe.run(site, stop)
    return time.process_time() - before


def one_round(port: int, rate: float, seconds: float) -> Round:
    """Raises `RuntimeFailure` when a request failed."""
    with tempfile.TemporaryDirectory() as name:
        path, origin = Path(name) / "history.jsonl", now_ns()
        head = Header(t=0, schema=SCHEMA, origin=origin, wall=time.time_ns(), scenario="", run="")
        with HistoryWriter(path, head) as writer:
            site = site_at(port, Path(name), writer, origin)
            cpu = run_loop(lambda: probe_for(seconds, site, rate))
        requests = History.read(path).requests
    bad = [r for r in requests if r.complete is None or r.complete.outcome != "ok"]
    if bad:
        raise RuntimeFailure(f"{len(bad)} of {len(requests)} requests failed, first {bad[0]}")
    latencies = [latency / MS for r in requests if (latency := r.latency) is not None]
    return Round(
        cpu=cpu * NS / US / len(requests),
        late=quantile([r.late / MS for r in requests], 0.99),
        p50=quantile(latencies, 0.5),
        p99=quantile(latencies, 0.99),
    )


def main(argv: list[str]) -> int:
    options_of = parser("probe", __doc__)
    options_of.add_argument("--seconds", type=float, help="of one round")
    options = options_of.parse_args(argv)
    rounds = rounds_of(options, usual=5, quick=2)
    seconds = options.seconds or (1.0 if options.quick else 4.0)
    cores = sorted(os.sched_getaffinity(0))
    quiet = Quiet(options.quiet)
    print(machine())
    server = Server("pop", cores[0])
    try:
        os.sched_setaffinity(0, {cores[-1]})
        for rate in RATES:
            found = []
            for _ in range(rounds):
                quiet.wait()
                found.append(one_round(server.port, rate, seconds))
            figures = [
                Figure("CPU time per request", "us", [one.cpu for one in found]),
                Figure("late p99", "ms", [one.late for one in found]),
                Figure("latency p50", "ms", [one.p50 for one in found]),
                Figure("latency p99", "ms", [one.p99 for one in found]),
            ]
            show(f"{rate} evaluations/s", figures)
    finally:
        os.sched_setaffinity(0, cores)
        server.stop()
    print(quiet.told())
    return 0
