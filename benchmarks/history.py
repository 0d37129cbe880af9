"""What histories cost: writing one, reading it, judging it and making the reports of it.

The history is made up, in the proportions of a real run on three regions: evaluations at each PoP, writes, a stream
subscriber and a status for each PoP, one hub crash. All of it holds what its checks ask for, so that they look at
everything. Writing is what a probe does for each event: one `os.write`; reading and all that follows happens
after a run. The judging and the reports read the history themselves; that is in their times.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import reports
from benchmarks._common import TOPOLOGIES, Figure, Quiet, machine, parser, rounds_of, show
from harness import yamlspec
from harness.history import (
    SCHEMA,
    Attempt,
    Complete,
    End,
    Event,
    FaultEvent,
    Header,
    Invoke,
    Phase,
    Probe,
    ProbeEnd,
    Status,
    Stream,
)
from harness.history_io import History, HistoryWriter
from harness.scenario.judge import Judged, judge, write_judged
from harness.scenario.load import parse_scenario
from harness.scenario.model import Scenario
from harness.scenario.observe import describe_nodes
from harness.units import NS
from reports.store import write_run

T = TypeVar("T")

MS = 1_000_000  # ns
WALL = 1_764_000_000 * NS  # Unix time at the origin
SEEDED = 4  # log positions before the first write
POPS = ("pop-us", "pop-eu", "pop-ap")
KEYS = ("a", "b", "c", "d")
EVALUATE, WRITE, STATUS = NS // 250, NS // 20, NS // 2  # intervals, ns
ACKNOWLEDGED, APPLIED, ANSWERED = 4 * MS, 10 * MS, MS  # after a write, a write, an evaluation
PER_SECOND = 3 * 250 * 2 + 20 * (2 + 3) + 3 * 2  # events
SCENARIO = """\
title: A made-up run with every kind of event that a real one is full of
requirements: [S1, S2]
topology: three-regions.yaml
flags: {a: 0, b: 0, c: 0, d: 0}
probes:
  - write: {name: writer, rate: 20, keys: [a, b, c, d]}
  - subscribe: {name: at-pop-us, node: pop-us}
  - subscribe: {name: at-pop-eu, node: pop-eu}
  - subscribe: {name: at-pop-ap, node: pop-ap}
  - evaluate: {name: pop-us, node: pop-us, rate: 250, keys: [a, b, c, d]}
  - evaluate: {name: pop-eu, node: pop-eu, rate: 250, keys: [a, b, c, d]}
  - evaluate: {name: pop-ap, node: pop-ap, rate: 250, keys: [a, b, c, d]}
  - status: {name: status, nodes: [pop-us, pop-eu, pop-ap], interval: 500ms}
steps:
  - phase: baseline
  - wait: 1s
  - phase: broken
  - inject: {crash: {node: hub-us-1}, label: crash}
  - wait: 1s
  - heal: crash
  - phase: recovered
  - wait: 1s
  - stop: {probes: [writer]}
  - phase: final
  - read_back: {of: [writer]}
checks:
  - availability: {requirement: S1, probe: pop-us, phase: broken, max_failed: 0, p99: 50ms}
  - availability: {requirement: S1, probe: pop-eu, phase: broken, max_failed: 0, p99: 50ms}
  - availability: {requirement: S1, probe: pop-ap, phase: broken, max_failed: 0, p99: 50ms}
  - recovery: {requirement: S2, probe: pop-us, fault: crash, rto: 1s, fresh_within: 1s, writes: writer}
  - staleness: {requirement: S2, probe: pop-us, bound: 1s, writes: [writer], phase: broken}
  - stream: {requirement: S1, probes: [at-pop-us, at-pop-eu, at-pop-ap], writes: [writer], p99: 50ms}
  - propagation: {requirement: S1, probes: [pop-us, pop-eu, pop-ap], writes: [writer], phase: baseline, p99: 1s}
  - durability: {requirement: S1, writes: [writer], reads: final, evaluations: [pop-us, pop-eu, pop-ap]}
"""


def scenario() -> Scenario:
    path = TOPOLOGIES / "made-up.yaml"  # where its topology is looked for; there is no such file
    return parse_scenario(yamlspec.loads(SCENARIO, str(path)), path, SCENARIO)


@dataclass(frozen=True)
class MadeUp:
    """A history of `lasts` ns, which end with the writes' last answer; see `made_up`."""

    lasts: int

    def events(self) -> Iterator[Event]:
        yield from self._frame()
        for pop in POPS:
            yield from self._evaluations(pop)
            yield from self._subscriber(pop)
        yield from self._writes()
        yield from self._reads()

    def _frame(self) -> Iterator[Event]:
        third = self.lasts // 3
        yield Phase(t=0, name="baseline")
        yield Phase(t=third, name="broken")
        yield Phase(t=2 * third, name="recovered")
        yield Phase(t=self.lasts, name="final")
        for at, stage in enumerate(("inject", "injected", "verified")):
            yield self._fault(third + at * MS, stage)
        for at, stage in enumerate(("heal", "healed", "heal-verified")):
            yield self._fault(2 * third + at * MS, stage)
        for pop, t in itertools.product(POPS, range(0, self.lasts, STATUS)):
            seq = SEEDED + self._applied(t)
            yield Status(t=t, node=pop, ok=True, role="pop", level="HEALTHY", version=seq, boot="1")
        yield End(t=self.lasts + 40 * MS)

    def _fault(self, t: int, stage: str) -> FaultEvent:
        return FaultEvent(
            t=t,
            fault=1,
            name="crash",
            stage=stage,
            targets=["hub-us-1"],
            bit="verified" in stage,
            seen="it refuses connections",
            label="crash",
        )

    def _writes(self) -> Iterator[Event]:
        dues = range(0, self.lasts, WRITE)
        yield Probe(t=0, name="writer", kind="write", interval=WRITE, budget=50 * MS)
        for op, due in enumerate(dues):
            key, value, done = KEYS[op % 4], op + 1, due + ACKNOWLEDGED
            yield Invoke(t=due, op=op, probe="writer", kind="write", due=due, key=key, value=value)
            yield Complete(
                t=done,
                op=op,
                probe="writer",
                kind="write",
                outcome="ok",
                status=200,
                key=key,
                value=value,
                version=SEEDED + value,
                attempts=[Attempt(due, done)],
            )
        yield ProbeEnd(t=self.lasts, name="writer", sent=len(dues))

    def _evaluations(self, pop: str) -> Iterator[Event]:
        dues = range(0, self.lasts, EVALUATE)
        yield Probe(t=0, name=pop, kind="evaluate", interval=EVALUATE, target=pop, budget=50 * MS)
        for op, due in enumerate(dues):
            key, done = KEYS[op % 4], due + ANSWERED
            count = self._applied(due)
            value = max(0, count - (count - 1 - op) % 4)  # the key's last write of `count`
            yield Invoke(
                t=due,
                op=op,
                probe=pop,
                kind="evaluate",
                due=due,
                key=key,
                value=f"user-{op % 1000}",
            )
            yield Complete(
                t=done,
                op=op,
                probe=pop,
                kind="evaluate",
                outcome="ok",
                status=200,
                key=key,
                node=pop,
                value=value,
                variant="v",
                reason="STATIC",
                version=SEEDED + count,
                level="HEALTHY",
                metadata={"flag_version": SEEDED + value if value else op % 4 + 1},
                attempts=[Attempt(due, done)],
            )
        yield ProbeEnd(t=self.lasts, name=pop, sent=len(dues))

    def _subscriber(self, pop: str) -> Iterator[Event]:
        name = f"at-{pop}"
        yield Probe(t=0, name=name, kind="subscribe", target=pop)
        yield Stream(t=0, probe=name, what="connect")
        yield Stream(t=0, probe=name, what="open")
        yield Stream(t=0, probe=name, what="snapshot", id=SEEDED)
        for op, due in enumerate(range(0, self.lasts, WRITE)):
            yield Stream(
                t=due + APPLIED,
                probe=name,
                what="change",
                id=SEEDED + op + 1,
                org="default",
                key=KEYS[op % 4],
                value=op + 1,
                at=WALL + due + MS,
            )
        yield ProbeEnd(t=self.lasts + 30 * MS, name=name, sent=1)

    def _reads(self) -> Iterator[Event]:
        count = len(range(0, self.lasts, WRITE))
        for op in range(4):
            t, key = self.lasts + (20 + op) * MS, KEYS[op]
            yield Invoke(t=t, op=op, probe="read-back", kind="read", due=t, key=key)
            yield Complete(
                t=t + MS,
                op=op,
                probe="read-back",
                kind="read",
                outcome="ok",
                status=200,
                key=key,
                value=count - (count - 1 - op) % 4,
                version=SEEDED + count,
                attempts=[Attempt(t, t + MS)],
            )

    @staticmethod
    def _applied(t: int) -> int:
        """How many writes the PoPs have at `t`."""
        return (t - APPLIED) // WRITE + 1 if t >= APPLIED else 0


def made_up(count: int) -> list[Event]:
    """About `count` events, in the order in which they would have been written."""
    lasts = max(6 * NS, NS * count // PER_SECOND)
    return sorted(MadeUp(lasts).events(), key=lambda event: event.t)


def header(of: Scenario) -> Header:
    return Header(
        t=0,
        schema=SCHEMA,
        origin=0,
        wall=WALL,
        scenario=of.name,
        run="made-up",
        requirements=list(of.requirements),
        title=of.title,
        topology=describe_nodes(of.topology),
        settings={"file": str(of.path), "overrides": [], "scenario": of.text},
    )


class Clock:
    """Wall seconds of each step, over the rounds."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {}

    def __repr__(self) -> str:
        return f"<Clock {', '.join(self.seconds)}>"

    def take(self, name: str, act: Callable[[], T]) -> T:
        begin = time.perf_counter()
        result = act()
        self.seconds.setdefault(name, []).append(time.perf_counter() - begin)
        return result


def one_round(of: Scenario, events: list[Event], clock: Clock) -> tuple[Judged, int]:
    """The judged history, and its size in bytes."""
    with tempfile.TemporaryDirectory() as name:
        run = Path(name)
        folder = run / of.name
        folder.mkdir()
        path = folder / "history.jsonl"

        def write() -> None:
            with HistoryWriter(path, header(of)) as writer:
                for event in events:
                    writer.write(event)

        clock.take("write", write)
        clock.take("read", lambda: History.read(path))
        result = clock.take("judge", lambda: judge(of, folder, 0.0))
        write_judged(folder, result)
        write_run(run, reports.RunFacts(run="made-up", scenarios=[of.name]))
        clock.take("reports", lambda: reports.make(run))
        return result, path.stat().st_size


def measure(count: int, rounds: int, quiet: Quiet) -> tuple[Clock, Judged, int, int]:
    """The times, the last round's verdicts, the number of events and the history's bytes."""
    of, events, clock = scenario(), made_up(count), Clock()
    for _ in range(rounds):
        quiet.wait()
        result, size = one_round(of, events, clock)
    return clock, result, len(events), size


def main(argv: list[str]) -> int:
    options_of = parser("history", __doc__)
    options_of.add_argument("--events", type=int, default=100_000)
    options = options_of.parse_args(argv)
    quiet = Quiet(options.quiet)
    print(machine())
    rounds = rounds_of(options, usual=7, quick=2)
    clock, judged, count, size = measure(options.events, rounds, quiet)
    rates = [
        Figure(name, "events/s", [count / s for s in clock.seconds[name]])
        for name in ("write", "read")
    ]
    times = [
        Figure("judge", "s", clock.seconds["judge"]),
        Figure("reports", "s", clock.seconds["reports"]),
    ]
    checks = f"{len(judged.findings)} findings, {judged.verdict}"
    show(f"{count} events, {size / 2**20:.1f} MiB, {checks}", rates + times)
    print(quiet.told())
    return 0
