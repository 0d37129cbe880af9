"""Run one scenario's timeline on a cluster of its own and record everything. Judging comes later (judge.py)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import uvloop

from harness.checkers.status_field import meets
from harness.errors import RuntimeFailure, SquallError
from harness.fault import Fault, Witness
from harness.history import SCHEMA, End, FaultEvent, Header, Note
from harness.history import Phase as PhaseEvent
from harness.history_io import HistoryWriter
from harness.network.script import Script as Answers
from harness.network.toxiproxy import CARRY_RESETS
from harness.network.wiretap import Wiretap
from harness.probes import AnyProbe, LoadProbe, Site
from harness.probes.calendar import advance
from harness.probes.load import RunningLoad
from harness.probes.objects import list_objects
from harness.probes.versions import read_versions
from harness.probes.write import Receipt
from harness.runtime.base import Cluster, Plan, Runtime
from harness.runtime.session import Session, open_runtime
from harness.scenario.call import call
from harness.scenario.environment import describe
from harness.scenario.fill import fill
from harness.scenario.metronome import Metronome
from harness.scenario.model import (
    Advance,
    Call,
    Fill,
    Heal,
    Inject,
    ListObjects,
    Phase,
    ReadBack,
    ReadVersions,
    Scenario,
    Script,
    Start,
    Step,
    Stop,
    UntilLevel,
    UntilStatus,
    UntilStream,
    Wait,
    Write,
)
from harness.scenario.observe import StatusWatch, describe_nodes
from harness.target import Target
from harness.units import NS, now_ns

Tell = Callable[[str, str], None]
T = TypeVar("T")
GATE_LIMIT_S = 240.0
END_LIMIT_S = 3600.0
CONVERGE_LIMIT_S = 60.0
PROBE_END_LIMIT_S = 15.0
FAULT_LIMIT_S = 45.0


@dataclass(frozen=True, slots=True)
class Gates:
    """Read ends of pipes, open when their writer is closed; None: open from the first."""

    begin: int | None = None
    end: int | None = None


def execute(
    scenario: Scenario,
    folder: Path,
    run_id: str,
    session: Session,
    tell: Tell,
    gates: Gates | None = None,
) -> None:
    """Blocking. Leaves `folder`/history.jsonl and the nodes' logs.

    `gates` keep it from beginning before, and from tidying up beside, its neighbours. SIGTERM ends the timeline in
    order. Raises SquallError when the cluster could not be brought up or the timeline could not be carried out; the
    history then has no `End`, or one with the error.
    """
    metronome = Metronome()  # before there is a loop
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(
                _execute(scenario, folder, run_id, session, tell, gates or Gates(), metronome)
            )
    finally:
        metronome.close()


async def _execute(
    scenario: Scenario,
    folder: Path,
    run_id: str,
    session: Session,
    tell: Tell,
    gates: Gates,
    metronome: Metronome,
) -> None:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    runtime = open_runtime(session)
    plan = runtime.plan(scenario.topology, folder, tuple(tap.link for tap in scenario.taps))
    origin = now_ns()
    header = Header(
        t=0,
        schema=SCHEMA,
        origin=origin,
        wall=time.time_ns(),
        scenario=scenario.name,
        run=run_id,
        requirements=list(scenario.requirements),
        title=scenario.title,
        topology=describe_nodes(scenario.topology),
        environment=describe(session.runtime, session.parts),
        settings={
            "file": str(scenario.path),
            "overrides": list(scenario.overrides),
            "scenario": scenario.text,
        },
    )
    writer = HistoryWriter(folder / "history.jsonl", header)
    run = _Run(scenario, runtime, plan, writer, origin, tell)
    metronome.attach(writer.write, origin)
    try:
        await run.whole(gates)
    except asyncio.CancelledError:
        writer.write(End(t=run.now(), error="the run was ended from outside"))
        raise SquallError("the run was ended from outside") from None
    except SquallError as error:
        writer.write(End(t=run.now(), error=str(error)))
        raise
    finally:
        metronome.detach()
        writer.close()


@dataclass(slots=True)
class _InForce:
    number: int
    fault: Fault
    label: str
    undos: list[int] = field(default_factory=list)  # in the ledger


@dataclass(slots=True)
class _Run:
    """The state of one timeline: its cluster, running probes and faults in force."""

    scenario: Scenario
    runtime: Runtime
    plan: Plan
    writer: HistoryWriter
    origin: int
    tell: Tell
    taps: dict[str, Wiretap] = field(default_factory=dict)
    in_force: list[_InForce] = field(default_factory=list)
    probes: dict[str, tuple[asyncio.Task[None], asyncio.Event]] = field(default_factory=dict)
    loads: dict[str, RunningLoad] = field(default_factory=dict)
    faults: int = 0
    receipts: dict[str, list[Receipt]] = field(default_factory=dict)  # by write probe
    moved: int = 0  # ns, by which calendars were moved on
    cluster: Cluster | None = None

    def __repr__(self) -> str:
        active = ", ".join(item.label for item in self.in_force) or "no fault"
        return f"<_Run {self.scenario.name}: {len(self.probes)} probes, {active}>"

    def now(self) -> int:
        return now_ns() - self.origin

    @property
    def site(self) -> Site:
        return Site(
            plan=self.plan,
            target=self.scenario.target or Target(),
            record=self.writer.write,
            origin_ns=self.origin,
            look=self.cluster.processes if self.cluster else None,
            receipts=self.receipts,
        )

    async def whole(self, gates: Gates) -> None:
        self.tell("starting", f"{len(self.plan.topology.nodes)} nodes")
        try:
            await self._start_taps()
            cluster = await self.runtime.start(self.plan)
            self.cluster = cluster
            async with cluster:
                await self._bring_up(cluster)
                await self._prepare_loads()
                self.tell("ready", "")
                await _pass_gate(gates.begin, GATE_LIMIT_S)
                await self._timeline(cluster)
                self.tell("over", "")
                await _pass_gate(gates.end, END_LIMIT_S)
        finally:
            for load in self.loads.values():
                await load.close()
            for tap in self.taps.values():
                await tap.close()

    async def _start_taps(self) -> None:
        for tap in self.scenario.taps:
            link = self.scenario.topology.links[tap.link]
            self.taps[tap.link] = Wiretap(
                link=tap.link,
                listen=self.plan.tap[tap.link],
                upstream=self.plan.far_end(link),
                record=self.writer.write,
                origin_ns=self.origin,
                script=Answers(tap.rules),
            )
        await asyncio.gather(*(tap.start() for tap in self.taps.values()))

    async def _bring_up(self, cluster: Cluster) -> None:
        """Flags are there and every node with levels says so before anything is measured."""
        seq = -1
        if self.scenario.flags and self.plan.topology.endpoints.write:
            seq = await self.site.write_flags(self.scenario.flags, within=CONVERGE_LIMIT_S)
        await self._carry_resets(cluster)
        watch = StatusWatch(self.site)
        levelled = await watch.nodes_with_levels()
        missing = await watch.until(
            levelled,
            lambda status: status.level == self.scenario.start_level and status.version >= seq,
            CONVERGE_LIMIT_S,
        )
        if missing:
            raise RuntimeFailure(
                f"{self.scenario.name}: not {self.scenario.start_level} at log position {seq} "
                f"after {CONVERGE_LIMIT_S:.0f} s: {missing}; {cluster!r}"
            )

    async def _prepare_loads(self) -> None:
        """Locust takes seconds to start, which are none of the timeline's."""
        for probe in self.scenario.probes:
            if isinstance(probe, LoadProbe):
                self.loads[probe.name] = await probe.prepare(self.site, self.plan.state_dir)

    async def _carry_resets(self, cluster: Cluster) -> None:
        """Where a tap is to reset, its RST must reach the caller as one; a proxy in between makes a FIN of it."""
        rules = [(tap.link, tap.rules) for tap in self.scenario.taps]
        rules += [(s.link, s.rules) for s in self.scenario.steps if isinstance(s, Script)]
        resetting = {link for link, some in rules if any(rule.resets for rule in some)}
        for link in sorted(resetting):
            await cluster.network.add(link, CARRY_RESETS)

    async def _timeline(self, cluster: Cluster) -> None:
        error = ""
        try:
            late = self.scenario.late_probes
            self._start_probes(p.name for p in self.scenario.probes if p.name not in late)
            for step in self.scenario.steps:
                self._probes_alive()
                await self._step(step, cluster)
            self._probes_alive()
            await self._stop_probes(tuple(self.probes))
            await self._heal("all", cluster)
        except (SquallError, OSError, TimeoutError) as problem:
            error = f"{type(problem).__name__}: {problem}"
            raise RuntimeFailure(f"{self.scenario.name}: {problem}") from problem
        finally:
            for task, stop in self.probes.values():
                stop.set()
                task.cancel()
            if not error and asyncio.current_task() and not asyncio.current_task().cancelling():  # type: ignore[union-attr]
                self.writer.write(End(t=self.now()))

    def _start_probes(self, names: Iterable[str]) -> None:
        by_name = {probe.name: probe for probe in self.scenario.probes}
        for name in names:
            stop = asyncio.Event()
            runs = self.loads.get(name, by_name[name])
            task = asyncio.create_task(runs.run(self.site, stop), name=name)
            self.probes[name] = (task, stop)

    def _probes_alive(self) -> None:
        for name, (task, _) in self.probes.items():
            if task.done() and not task.cancelled() and (problem := task.exception()):
                raise RuntimeFailure(f"probe {name} broke: {type(problem).__name__}: {problem}")

    async def _stop_probes(self, names: tuple[str, ...]) -> None:
        tasks = []
        for name in names:
            task, stop = self.probes.pop(name)
            stop.set()
            tasks.append(task)
        if not tasks:
            return
        done, pending = await asyncio.wait(tasks, timeout=PROBE_END_LIMIT_S)
        for task in pending:
            task.cancel()
        if pending:
            late = ", ".join(task.get_name() for task in pending)
            raise RuntimeFailure(f"probes did not end within {PROBE_END_LIMIT_S:.0f} s: {late}")
        for task in done:
            task.result()

    async def _step(self, step: Step, cluster: Cluster) -> None:  # noqa: C901, PLR0912 - one case a step, nothing more
        match step:
            case Phase(name):
                self.writer.write(PhaseEvent(t=self.now(), name=name))
                self.tell("phase", name)
            case Wait(duration):
                await self._wait(float(duration))
            case Inject(fault, label):
                await self._inject(fault, label, cluster)
            case Heal(label):
                await self._heal(label, cluster)
            case UntilLevel(level, nodes, within):
                await self._until(nodes, within, f"level {level}", lambda s: s.level == level)
            case UntilStream(nodes, sources, within):
                text = f"stream from {' or '.join(sources)}"
                await self._until(nodes, within, text, lambda s: s.upstream in sources)
            case UntilStatus(nodes, name, equals, at_least, within):
                wanted = equals if at_least is None else f"at least {at_least:g}"
                met = partial(meets, name=name, one_of=(equals,), at_least=at_least)
                await self._until(nodes, within, f"{name} {wanted}", met)
            case Script(link, rules):
                self.taps[link].set_script(Answers(rules))
            case Start(probes):
                self._start_probes(probes)
            case Stop(probes):
                await self._stop_probes(probes)
            case ReadBack(of, within):
                await self.site.read_back(self._written(of), within=float(within))
            case ReadVersions(of, within):
                await read_versions(self.site, of, within=float(within))
            case Write(flags):
                await self.site.write_flags(flags, within=10.0)
            case Advance(nodes, by, within):
                self.moved += await advance(self.site, nodes, by, within, self.moved)
            case ListObjects(nodes, prefix, bucket, within):
                await list_objects(self.site, nodes, bucket, prefix, within)
            case Call():
                await call(self.site, step)
            case Fill():
                await fill(self.site, step)

    async def _wait(self, duration: float) -> None:
        """Let time pass, but not past a probe that broke."""
        deadline = now_ns() + round(duration * NS)
        tasks = [task for task, _ in self.probes.values()]
        while (left := (deadline - now_ns()) / NS) > 0:
            if not tasks:
                await asyncio.sleep(left)
                continue
            done, _ = await asyncio.wait(tasks, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            self._probes_alive()
            tasks = [task for task in tasks if task not in done]

    async def _until(
        self, nodes: tuple[str, ...], within: Any, text: str, met: Callable[[Any], bool]
    ) -> None:
        missing = await StatusWatch(self.site).until(nodes, met, float(within))
        seen = f"not met after {float(within):g} s: {missing}" if missing else "met"
        self.writer.write(
            Note(t=self.now(), source="until", text=f"{', '.join(nodes)}: {text}: {seen}")
        )

    def _written(self, names: tuple[str, ...]) -> list[AnyProbe]:
        return [probe for probe in self.scenario.probes if probe.name in names]

    async def _inject(self, fault: Fault, label: str, cluster: Cluster) -> None:
        self.faults += 1
        active = _InForce(self.faults, fault, label)
        planned = self.now()
        targets = list(fault.targets(cluster))
        self.in_force.append(active)
        # First the ledger: it is undone from its end, so the first to be undone is recorded last.
        for undo in reversed(fault.undo(cluster)):
            active.undos.append(await cluster.record(undo))
        # The record comes before the act: a run that dies in between still knows what it was about to do.
        self._fault(active, "inject", targets=targets, planned=planned)
        await self._bounded(fault.inject(cluster), f"inject {label}")
        self._fault(active, "injected", targets=targets, planned=planned)
        proof = await self._bounded(fault.verify(cluster), f"verify {label}")
        self._fault(active, "verified", targets=targets, bit=proof.bit, seen=proof.seen)
        self.tell("fault", f"{label} {'bit' if proof.bit else 'DID NOT BITE'}: {proof.seen}")

    async def _heal(self, label: str, cluster: Cluster) -> None:
        chosen = [item for item in reversed(self.in_force) if label in ("all", item.label)]
        for item in chosen:
            targets = list(item.fault.targets(cluster))
            self._fault(item, "heal", targets=targets, planned=self.now())
            await self._bounded(item.fault.heal(cluster), f"heal {item.label}")
            self._fault(item, "healed", targets=targets)
            if isinstance(item.fault, Witness):
                for event in item.fault.witnessed(self.origin):
                    self.writer.write(event)
            for entry in item.undos:
                await cluster.done(entry)
            self.in_force.remove(item)
            proof = await self._bounded(
                item.fault.verify_healed(cluster), f"verify the heal of {item.label}"
            )
            self._fault(item, "heal-verified", targets=targets, bit=proof.bit, seen=proof.seen)
            self.tell("fault", f"{item.label} {'healed' if proof.bit else 'DID NOT HEAL'}")

    async def _bounded(self, act: Awaitable[T], what: str) -> T:
        try:
            async with asyncio.timeout(FAULT_LIMIT_S):
                return await act
        except TimeoutError:
            raise RuntimeFailure(f"{what}: not done after {FAULT_LIMIT_S:.0f} s") from None

    def _fault(self, item: _InForce, stage: str, **more: Any) -> None:
        self.writer.write(
            FaultEvent(
                t=self.now(),
                fault=item.number,
                name=item.fault.name,
                stage=stage,
                label=item.label,
                colour=item.fault.colour,
                **more,
            )
        )


async def _pass_gate(gate: int | None, limit: float) -> None:
    """Until the other end of the pipe is closed, or the limit: no scenario waits for ever for its neighbours."""
    if gate is None:
        return
    loop = asyncio.get_running_loop()
    opened = asyncio.Event()
    os.set_blocking(gate, False)
    loop.add_reader(gate, opened.set)
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit):
                await opened.wait()
    finally:
        loop.remove_reader(gate)
