"""Run scenarios side by side, each in a worker process of its own, and put the results into one run folder.

Workers are forked where nothing else runs (no threads, no loop), so a worker costs milliseconds. The first of them
start their clusters and wait at a gate: their timelines begin together when every cluster is up, so that the great
start-up disturbs nobody's measurement. Clusters of containers wait at a second gate before they are ended, too.
"""

from __future__ import annotations

import ctypes
import json
import os
import secrets
import selectors
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import psutil

from harness.errors import SquallError
from harness.priority import JUDGING, MEASURING, set_nice
from harness.runtime.session import Session, find_kind
from harness.scenario.execute import Gates, execute
from harness.scenario.judge import Judged, judge, unfinished, write_judged
from harness.scenario.model import Scenario

START_LIMIT_S = 180.0  # containers of six clusters on two cores take a minute
END_LIMIT_S = 60.0
TERM_GRACE_S = 15.0
CALM_PERCENT, CALM_LIMIT_S = 50.0, 15.0
_PR_SET_PDEATHSIG = 1
_TURNS = {"first": 0, "": 1, "last": 2}


@dataclass(frozen=True, slots=True)
class Progress:
    """Something worth a line while the run goes on."""

    scenario: str
    stage: str  # "starting", "ready", "begin", "phase", "fault", "over", "judged", "failed"
    text: str = ""


class Listener:
    """What a run tells whoever watches it; the CLI prints, tests collect."""

    def progress(self, event: Progress) -> None: ...

    def judged(self, scenario: Scenario, result: Judged) -> None: ...


@dataclass(slots=True)
class _Worker:
    scenario: Scenario
    pid: int
    pipe: int
    deadline: float
    folder: Path
    buffer: bytes = b""
    ready: bool = False
    over: bool = False  # its timeline is
    terminated: float | None = None
    error: str = ""

    def __repr__(self) -> str:
        state = "ready" if self.ready else "starting"
        return f"<_Worker {self.scenario.name} pid={self.pid} {state}>"


@dataclass(slots=True)
class RunFolder:
    """`out/<time>-<id>`, with `out/latest` as a link to the newest."""

    path: Path
    id: str
    started: float = field(default_factory=time.time)

    @classmethod
    def create(cls, out: Path) -> RunFolder:
        stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
        run_id = f"{stamp}-{secrets.token_hex(3)}"
        path = out / run_id
        path.mkdir(parents=True)
        return cls(path, run_id)

    def link_latest(self) -> None:
        link = self.path.parent / "latest"
        fresh = self.path.parent / f".latest-{os.getpid()}"
        fresh.symlink_to(self.path.name)
        fresh.replace(link)


def estimate(scenario: Scenario) -> float:
    """The most a scenario's timeline may take, s: its waits plus the deadlines of its waits for conditions."""
    within = sum(float(getattr(step, "within", 0.0)) for step in scenario.steps)
    return scenario.duration + within + 20.0 * len(scenario.steps)


class _Calm:
    """The machine after a great start-up: what was begun has settled when half of its time is idle again."""

    def __init__(self) -> None:
        self._asked: float | None = None
        self._looked = 0.0

    def __repr__(self) -> str:
        return f"<_Calm asked={self._asked}>"

    def reached(self) -> bool:
        """Looks once a second at the second before; gives up after `CALM_LIMIT_S`, for others may be at work here."""
        now = time.monotonic()
        if self._asked is None:
            self._asked = self._looked = now
            psutil.cpu_percent()
            return False
        if now - self._looked < 1.0:
            return False
        self._looked = now
        return psutil.cpu_percent() < CALM_PERCENT or now - self._asked > CALM_LIMIT_S


class _Gate:
    """A pipe whose read end tells workers that its write end was closed: here, or by our death."""

    def __init__(self) -> None:
        self.read, self._write = os.pipe()
        self.is_open = False

    def __repr__(self) -> str:
        return f"<_Gate {'open' if self.is_open else 'shut'}>"

    def open(self) -> None:
        """Idempotent; in a worker, it lets go of our end."""
        if not self.is_open:
            os.close(self._write)
            self.is_open = True

    def close(self) -> None:
        self.open()
        os.close(self.read)


def run(
    scenarios: Sequence[Scenario],
    folder: RunFolder,
    session: Session,
    listener: Listener,
    jobs: int,
) -> list[Judged]:
    """Run all of `scenarios` on `jobs` lanes; returns a result for each, also for those that died.

    The longest start first, so that the short ones fill the lanes that become free beside them, but each at its `turn`; where
    clusters are too much work to be started and ended beside others' timelines, all lanes begin and end together.
    """
    # What a fresh installation left for the kernel to write would be written half a minute later, and a history's own lines
    # would wait for it in the middle of a timeline.
    os.sync()
    waiting = sorted(scenarios, key=lambda each: (_TURNS[each.turn], -each.duration))
    results: list[Judged] = []
    if not find_kind(session.runtime).in_waves:
        _Lanes(waiting, folder, session, listener, jobs, gates=(_Gate(), None)).run(results)
    for wave in waves(waiting, jobs):
        _Lanes(wave, folder, session, listener, jobs, gates=(_Gate(), _Gate())).run(results)
    return results


def waves(scenarios: Sequence[Scenario], jobs: int) -> list[list[Scenario]]:
    """Those that must be alone are, before the others; which go together as many at a time as there are lanes for."""
    made = [[scenario] for scenario in scenarios if scenario.alone]
    others = [scenario for scenario in scenarios if not scenario.alone]
    while others:
        wave: list[Scenario] = []
        while (fitting := following(others, wave, jobs)) is not None:
            wave.append(others.pop(fitting))
        made.append(wave)
    return made


def following(waiting: Sequence[Scenario], running: Sequence[Scenario], jobs: int) -> int | None:
    """The place of the first for which there is room beside `running`; on empty lanes the first of all, however wide it is.

    Nothing wide goes beside what needs quiet, and none whose turn is last goes before others have gone.
    """
    if not running:
        return 0 if waiting else None
    free = jobs - sum(scenario.topology.weight for scenario in running)
    if any(scenario.turn == "first" for scenario in running):
        free = min(free, 1)
    early = any(scenario.turn != "last" for scenario in waiting)
    for n, scenario in enumerate(waiting):
        if scenario.topology.weight <= free and not (early and scenario.turn == "last"):
            return n
    return None


class _Lanes:
    """Runs what is `waiting` (and takes it from there), `jobs` at a time.

    The first gate opens when all clusters of the first lanes are up; the last, if any, when all timelines are over.
    """

    def __init__(
        self,
        waiting: list[Scenario],
        folder: RunFolder,
        session: Session,
        listener: Listener,
        jobs: int,
        gates: tuple[_Gate, _Gate | None],
    ) -> None:
        self._waiting = waiting
        self._folder = folder
        self._session = session
        self._listener = listener
        self._jobs = jobs
        self._begin, self._end = gates
        self._running: dict[int, _Worker] = {}
        self._selector = selectors.DefaultSelector()
        self._opened_by = time.monotonic() + START_LIMIT_S
        self._calm = _Calm()

    def __repr__(self) -> str:
        return f"<_Lanes {len(self._running)}/{self._jobs} run, {len(self._waiting)} wait>"

    def run(self, results: list[Judged]) -> None:
        try:
            while self._waiting or self._running:
                while (fitting := self._fitting()) is not None:
                    self._start(self._waiting.pop(fitting))
                for key, _ in self._selector.select(timeout=0.2):
                    if not _read(key.data, self._listener):
                        results.append(self._finish(key.data))
                self._open_gates()
                _enforce_deadlines(self._running.values())
        except BaseException:
            for worker in self._running.values():
                _signal(worker.pid, signal.SIGTERM)
            _reap_all(self._running)
            raise
        finally:
            self._selector.close()
            for gate in (self._begin, self._end):
                if gate is not None:
                    gate.close()

    def _fitting(self) -> int | None:
        """Who may start now. What needs quiet has it: beside its timeline no cluster is started."""
        measured = (w for w in self._running.values() if self._begin.is_open and not w.over)
        if any(worker.scenario.turn == "first" for worker in measured):
            return None
        running = [worker.scenario for worker in self._running.values()]
        return following(self._waiting, running, self._jobs)

    def _start(self, scenario: Scenario) -> None:
        worker = _fork(scenario, self._folder, self._session, self._begin, self._end)
        self._running[worker.pid] = worker
        self._selector.register(worker.pipe, selectors.EVENT_READ, worker)
        self._listener.progress(Progress(scenario.name, "starting"))

    def _finish(self, worker: _Worker) -> Judged:
        self._selector.unregister(worker.pipe)
        os.close(worker.pipe)
        result = _finish(worker, self._listener)
        del self._running[worker.pid]
        return result

    def _open_gates(self) -> None:
        late = time.monotonic() > self._opened_by
        up = all(worker.ready for worker in self._running.values())
        calm = up and (self._end is None or self._calm.reached())
        if (late or calm) and not self._begin.is_open:
            self._begin.open()
            told = f"clusters up: {len(self._running)}; their timelines begin"
            self._listener.progress(Progress("", "begin", told))
        if self._end is not None and all(worker.over for worker in self._running.values()):
            self._end.open()


def _fork(
    scenario: Scenario, folder: RunFolder, session: Session, begin: _Gate, end: _Gate | None
) -> _Worker:
    path = folder.path / scenario.name
    path.mkdir()
    read, write = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    gates = Gates(None if begin.is_open else begin.read, end.read if end else None)
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            _die_with(parent)
            os.close(read)
            for gate in (begin, end):
                if gate is not None:
                    gate.open()
            # Ctrl-C reaches the parent, which asks its workers to end; they must be free to clean up.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            code = _work(scenario, path, folder.id, session, write, gates)
        except BaseException:  # noqa: BLE001 - the child must never return into the parent's code
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(write)
    deadline = time.monotonic() + START_LIMIT_S * 2 + estimate(scenario) + END_LIMIT_S
    return _Worker(scenario, pid, read, deadline, path)


def _die_with(parent: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(70)


def _work(
    scenario: Scenario, path: Path, run_id: str, session: Session, pipe: int, gates: Gates
) -> int:
    """In the worker: run, judge, write. What went wrong is told to the parent and is in worker.log."""
    log = os.open(path / "worker.log", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)

    def tell(stage: str, text: str = "") -> None:
        os.write(pipe, json.dumps([stage, text]).encode() + b"\n")

    # The measuring side goes before the measured one, and both before whatever else the machine does.
    set_nice(MEASURING)
    started = time.monotonic()
    try:
        execute(scenario, path, run_id, session, tell, gates)
    except SquallError as error:
        tell("failed", str(error))
        write_judged(path, unfinished(scenario, str(error), time.monotonic() - started))
        return 2
    set_nice(JUDGING)
    result = judge(scenario, path, time.monotonic() - started)
    write_judged(path, result)
    tell("judged")
    return 0


def _read(worker: _Worker, listener: Listener) -> bool:
    """Take what the worker said; False when it has ended."""
    data = os.read(worker.pipe, 65536)
    if not data:
        return False
    worker.buffer += data
    *lines, worker.buffer = worker.buffer.split(b"\n")
    for line in lines:
        stage, text = json.loads(line)
        worker.ready = worker.ready or stage == "ready"
        worker.over = worker.over or stage == "over"
        if stage == "failed":
            worker.error = text
        listener.progress(Progress(worker.scenario.name, stage, text))
    return True


def _finish(worker: _Worker, listener: Listener) -> Judged:
    _, status = os.waitpid(worker.pid, 0)
    file = worker.folder / "findings.json"
    if file.exists():
        result = msgspec.json.decode(file.read_bytes(), type=Judged)
    else:
        code = os.waitstatus_to_exitcode(status)
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        reason = worker.error or f"the worker ended with {how}; see {worker.folder / 'worker.log'}"
        result = unfinished(worker.scenario, reason, 0.0)
        write_judged(worker.folder, result)
        listener.progress(Progress(worker.scenario.name, "failed", reason))
    listener.judged(worker.scenario, result)
    return result


def _enforce_deadlines(workers: Iterable[_Worker]) -> None:
    now = time.monotonic()
    for worker in workers:
        if worker.terminated is not None and now > worker.terminated + TERM_GRACE_S:
            _signal(worker.pid, signal.SIGKILL)
        elif worker.terminated is None and now > worker.deadline:
            worker.error = "the scenario did not end by its deadline"
            worker.terminated = now
            _signal(worker.pid, signal.SIGTERM)


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _reap_all(running: dict[int, _Worker]) -> None:
    """After SIGTERM: give the workers their time to clean up, then end what is left."""
    deadline = time.monotonic() + TERM_GRACE_S
    left = set(running)
    poll: Callable[[int], bool] = lambda pid: os.waitpid(pid, os.WNOHANG)[0] == pid  # noqa: E731
    while left and time.monotonic() < deadline:
        left -= {pid for pid in left if poll(pid)}
        signal.sigtimedwait([], 0.05)
    for pid in left:
        _signal(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
