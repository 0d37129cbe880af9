"""SIGKILL to anyone, at any moment: nothing stays. What stays is looked for in /proc and in the address range itself."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from harness.runtime import doctor, procfs
from harness.runtime.addresses import claim_range
from harness.runtime.home import Room
from harness.runtime.process import ProcessRuntime
from harness.runtime.warden_client import WardenProcess
from tests.runtime import contract


async def work(socket_path: Path | None, state_dir: Path, servers: tuple[str, ...], say) -> None:
    """What a worker does: start a cluster through the warden (or its own), say where it is, and wait to be killed."""
    runtime = ProcessRuntime(socket_path)
    plan = runtime.plan(contract.topology("tests.runtime.toy", *servers), state_dir)
    cluster = await runtime.start(plan)
    if "postgres" in servers:
        await cluster.pause("postgres")
    pids = [cluster.pid(node) for node in [*plan.topology.nodes, "@toxiproxy"]]
    say(
        {
            "prefix": plan.toxiproxy.host[:-4],
            "pids": pids,
            "warden": runtime._own and runtime._own.pid,
        }
    )
    await asyncio.Event().wait()


class Worker:
    """A process forked from this one, as those of a run are; `said` waits until its cluster is ready."""

    def __init__(self, warden: Path | None, state_dir: Path, *servers: str) -> None:
        self._read, write = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                say = lambda what: os.write(write, json.dumps(what).encode() + b"\n")  # noqa: E731 - short-lived
                asyncio.run(work(warden, state_dir, servers, say))
            finally:
                os._exit(1)
        os.close(write)

    def said(self) -> Worker:
        with os.fdopen(os.dup(self._read)) as reader:
            said = json.loads(reader.readline())
        self.prefix = said["prefix"]
        self.warden = said["warden"]
        self.family = [each for pid in said["pids"] for each in procfs.tree(pid)]
        assert len(self.family) >= 3
        return self

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self._read)

    def left(self) -> list[procfs.Process]:
        return [each for each in self.family if procfs.alive(each.pid, each.start)]


def until(condition, within=10.0):
    deadline = time.monotonic() + within
    while not (seen := condition()):
        assert time.monotonic() < deadline, f"the condition did not come true; last seen: {seen!r}"
        time.sleep(0.01)


def count_records(room: Room) -> int:
    return room.pids.read_bytes().count(b"\n")


def until_records(room: Room, at_least: int) -> None:
    until(lambda: count_records(room) >= at_least)


def claim_is_free(prefix: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(f"\0squall-range-{prefix}")
        except OSError:
            return False
    return True


@pytest.fixture
def own_warden(squall_home):
    process = WardenProcess.start(["tests.runtime.toy"])
    yield process
    process.close()


def test_a_killed_worker_leaves_nothing(warden, tmp_path):
    worker = Worker(warden.socket, tmp_path, "postgres", "redis").said()
    room = warden.room.path / worker.prefix
    assert room.exists()
    assert not claim_is_free(worker.prefix)
    worker.kill()
    until(lambda: not worker.left())
    until(lambda: not room.exists())
    until(lambda: claim_is_free(worker.prefix))


def test_a_worker_killed_while_it_starts_leaves_nothing(warden, tmp_path):
    """At whatever moment the worker is killed, from its first claim to the last node."""
    for moment in range(3):
        records = count_records(warden.room)
        worker = Worker(warden.socket, tmp_path)
        until(lambda: list(warden.room.path.glob("127.*")))
        until_records(warden.room, at_least=records + moment)
        worker.kill()
        until(lambda: not list(warden.room.path.glob("127.*")))
    children = [each for each in procfs.everything().values() if each.parent == warden.pid]
    assert children == []


def test_a_killed_main_process_leaves_nothing(squall_home, tmp_path):
    """It started its own warden, which ends with it."""
    worker = Worker(None, tmp_path).said()
    warden = procfs.look(worker.warden)
    worker.kill()
    until(lambda: procfs.alive(warden.pid, warden.start) is None)
    until(lambda: not worker.left())
    until(lambda: claim_is_free(worker.prefix))
    until(lambda: not list((squall_home / "wardens").glob(f"run-{worker.pid}-*")))


def test_a_killed_warden_takes_its_nodes_along_and_the_worker_clears_up(own_warden, tmp_path):
    """PostgreSQL is paused: its backends can't notice, and must be found by the records."""
    worker = Worker(own_warden.socket, tmp_path, "postgres").said()
    os.kill(own_warden.pid, signal.SIGKILL)
    until(lambda: not worker.left())
    until(lambda: not own_warden.room.path.exists())
    assert claim_is_free(worker.prefix)
    worker.kill()


def test_the_next_start_sweeps_what_a_killed_warden_and_worker_left(own_warden, tmp_path):
    worker = Worker(own_warden.socket, tmp_path, "postgres").said()
    for number in (
        signal.SIGSTOP,
        signal.SIGKILL,
    ):  # stopped first: neither can act on the other's end
        os.kill(worker.pid, number)
        os.kill(own_warden.pid, number)
    own_warden._process.wait(5)
    worker.kill()
    leftovers = doctor.find_leftovers()
    assert [each.room for each in leftovers] == [own_warden.room]
    assert "postgres (pid" in str(leftovers[0])
    with WardenProcess.start():
        assert not own_warden.room.path.exists()
    assert worker.left() == []
    assert doctor.find_leftovers() == []


def test_a_fork_of_the_main_process_does_not_keep_the_warden_alive(squall_home):
    process = WardenProcess.start()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(write)
        os.read(read, 1)  # until our parent closes its end
        os._exit(0)
    os.close(read)
    process.close()
    assert not process.room.path.exists()
    os.close(write)
    os.waitpid(child, 0)


def test_shared_memory_of_a_killed_postgres_is_removed(warden, tmp_path):
    async def run():
        runtime = ProcessRuntime(warden.socket)
        cluster = await runtime.start(
            runtime.plan(contract.topology("tests.runtime.toy", "postgres"), tmp_path)
        )
        pid_file = (
            warden.room.path
            / cluster.plan.toxiproxy.host[:-4]
            / "postgres"
            / "data"
            / "postmaster.pid"
        )
        number = pid_file.read_text().splitlines()[6].split()[1]
        await cluster.close()
        return number

    number = asyncio.run(run())
    ids = [line.split()[1] for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]]
    assert number not in ids


def test_the_doctor_touches_nothing_that_is_in_use(warden, tmp_path):
    assert doctor.find_leftovers() == []
    doctor.clean([doctor.Leftover(warden.room, (), ())])
    assert warden.room.sock.exists()


def test_the_doctor_kills_only_the_very_process_that_a_record_names(squall_home):
    """A pid that was given to another process since has another start time; a record of another boot means nothing."""
    bystander = subprocess.Popen(["sleep", "60"])
    victim = subprocess.Popen(["sleep", "60"])
    try:
        room = Room(squall_home / "wardens" / "run-old")
        room.path.mkdir(parents=True)
        here, there = procfs.look(victim.pid), procfs.look(bystander.pid)
        boot = procfs.boot_id()
        lines = [
            {"pid": here.pid, "start": here.start, "node": "a", "boot": boot},
            {"pid": there.pid, "start": there.start - 1, "node": "b", "boot": boot},
            {"pid": there.pid, "start": there.start, "node": "c", "boot": "another"},
        ]
        room.pids.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"pid": 1, "sta')
        [leftover] = doctor.find_leftovers()
        assert leftover.nodes == ("a",)
        assert f"a (pid {victim.pid})" in str(leftover)
        doctor.clean([leftover])
        doctor.clean([leftover])
        assert victim.wait(5) == -signal.SIGKILL
        assert bystander.poll() is None
        assert not room.path.exists()
    finally:
        for process in (bystander, victim):
            process.kill()
            process.wait(5)


def test_a_claim_ends_with_its_holder():
    claim = claim_range([(2, 8080)])
    assert not claim_is_free(claim.prefix)
    claim.close()
    assert claim_is_free(claim.prefix)
