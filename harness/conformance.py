"""Run scenarios side by side, each in a worker process of its own, and put the results into one run folder.

Workers are forked where nothing else runs (no threads, no loop), so a worker costs milliseconds. The first of them
start their clusters and wait at a gate: their timelines begin together when every cluster is up, so that the great
start-up disturbs nobody's measurement.
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

from harness.errors import SquallError
from harness.priority import JUDGING, MEASURING, set_nice
from harness.runtime.session import Session
from harness.scenario.execute import execute
from harness.scenario.judge import Judged, judge, unfinished, write_judged
from harness.scenario.model import Scenario

START_LIMIT_S = 180.0  # containers of six clusters on two cores take a minute
END_LIMIT_S = 60.0
TERM_GRACE_S = 15.0
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Progress:
    """Something worth a line while the run goes on."""

    scenario: str
    stage: str  # "starting", "ready", "phase", "fault", "judged", "failed"
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


def run(
    scenarios: Sequence[Scenario],
    folder: RunFolder,
    session: Session,
    listener: Listener,
    jobs: int,
) -> list[Judged]:
    """Run all of `scenarios`, at most `jobs` at a time; returns a result for each, also for those that died.

    The longest start first, so that the short ones fill the lanes that become free beside them.
    """
    waiting = sorted(scenarios, key=lambda scenario: -scenario.duration)
    running: dict[int, _Worker] = {}
    results: list[Judged] = []
    gate_read, gate_write = os.pipe()
    gate_open = False
    selector = selectors.DefaultSelector()
    opened_by = time.monotonic() + START_LIMIT_S
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                gate = None if gate_open else (gate_read, gate_write)
                worker = _fork(waiting.pop(0), folder, session, gate)
                running[worker.pid] = worker
                selector.register(worker.pipe, selectors.EVENT_READ, worker)
                listener.progress(Progress(worker.scenario.name, "starting"))
            for key, _ in selector.select(timeout=0.2):
                worker = key.data
                if not _read(worker, listener):
                    selector.unregister(worker.pipe)
                    os.close(worker.pipe)
                    results.append(_finish(worker, listener))
                    del running[worker.pid]
            if not gate_open and (
                all(worker.ready for worker in running.values()) or time.monotonic() > opened_by
            ):
                os.close(gate_write)
                gate_open = True
            _enforce_deadlines(running.values())
    except BaseException:
        for worker in running.values():
            _signal(worker.pid, signal.SIGTERM)
        _reap_all(running)
        raise
    finally:
        selector.close()
        os.close(gate_read)
        if not gate_open:
            os.close(gate_write)
    return results


def _fork(
    scenario: Scenario, folder: RunFolder, session: Session, gate: tuple[int, int] | None
) -> _Worker:
    """`gate`: both ends of the pipe, while it is shut."""
    path = folder.path / scenario.name
    path.mkdir()
    read, write = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            _die_with(parent)
            os.close(read)
            if gate is not None:
                os.close(gate[1])
            # Ctrl-C reaches the parent, which asks its workers to end; they must be free to clean up.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            code = _work(scenario, path, folder.id, session, write, gate[0] if gate else None)
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
    scenario: Scenario, path: Path, run_id: str, session: Session, pipe: int, gate: int | None
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
        execute(scenario, path, run_id, session, tell, gate)
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
        if stage == "ready":
            worker.ready = True
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
