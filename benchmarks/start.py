"""How long a cluster takes from `plan` until every node is ready, and to be ended again.

Warm: one warden with the platform's program loaded serves all rounds, as in `squall run`. Cold: each round starts a
warden of its own first, which is part of the time. Both find the PostgreSQL template that an earlier run has left.
Ready: every node serves (HTTP 200 to /health, or the server's own ping). Healthy: every node that has
degradation levels says HEALTHY, so it has its stream and its stores; asked each 0.1 s. Aim: ready in 3 s for
about 20 nodes.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks._common import TOPOLOGIES, Figure, Quiet, machine, parser, rounds_of, run_loop, show
from harness.errors import RuntimeFailure
from harness.probes import Site
from harness.runtime.base import Plan
from harness.runtime.process import ProcessRuntime
from harness.scenario.observe import StatusWatch
from harness.target import Target
from harness.topology import Topology
from harness.topology_yaml import load_topology
from harness.units import now_ns

NAMES = ("single-pop", "hub-region", "three-regions")
HEALTHY_WITHIN = 30.0  # s


@dataclass(frozen=True)
class Round:
    """Seconds."""

    ready: float
    healthy: float
    close: float


async def one_round(runtime: ProcessRuntime, topology: Topology) -> Round:
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        plan = runtime.plan(topology, Path(folder))
        cluster = await runtime.start(plan)
        ready = time.perf_counter()
        try:
            await until_healthy(plan)
            healthy = time.perf_counter()
        finally:
            await cluster.close()
        return Round(ready - begin, healthy - begin, time.perf_counter() - healthy)


async def until_healthy(plan: Plan) -> None:
    """Raises `RuntimeFailure` with the levels last seen."""
    watch = StatusWatch(Site(plan, Target(), lambda _event: None, now_ns()))
    nodes = await watch.nodes_with_levels()
    left = await watch.until(nodes, lambda status: status.level == "HEALTHY", HEALTHY_WITHIN)
    if left:
        raise RuntimeFailure(f"not HEALTHY after {HEALTHY_WITHIN:g} s: {left}")


def measure(topology: Topology, rounds: int, quiet: Quiet, *, warm: bool) -> list[Round]:
    """`rounds` starts, one after the other. Cold: with the warden's start; its end is part of `close`."""
    with ProcessRuntime() as shared:
        if warm:
            run_loop(lambda: one_round(shared, topology))
        found = []
        for _ in range(rounds):
            quiet.wait()
            if warm:
                found.append(run_loop(lambda: one_round(shared, topology)))
            else:
                found.append(_cold_round(topology))
        return found


def _cold_round(topology: Topology) -> Round:
    with contextlib.ExitStack() as stack:
        runtime = stack.enter_context(ProcessRuntime())
        one = run_loop(lambda: one_round(runtime, topology))
        begin = time.perf_counter()
        stack.close()
        return Round(one.ready, one.healthy, one.close + time.perf_counter() - begin)


def main(argv: list[str]) -> int:
    options_of = parser("start", __doc__)
    options_of.add_argument("--topology", action="append", choices=NAMES)
    options_of.add_argument("--only", choices=("warm", "cold"))
    options = options_of.parse_args(argv)
    rounds = rounds_of(options, usual=7, quick=2)
    quiet = Quiet(options.quiet)
    print(machine())
    for name in options.topology or NAMES:
        topology = load_topology(TOPOLOGIES / f"{name}.yaml")
        figures = []
        for kind in ("warm", "cold"):
            if options.only in (None, kind):
                found = measure(topology, rounds, quiet, warm=kind == "warm")
                figures.append(Figure(f"{kind}, ready", "s", [one.ready for one in found]))
                figures.append(Figure(f"{kind}, healthy", "s", [one.healthy for one in found]))
                figures.append(Figure(f"{kind}, ended", "s", [one.close for one in found]))
        show(f"{name}: {len(topology.nodes)} nodes, {len(topology.links)} links", figures)
    print(quiet.told())
    return 0
