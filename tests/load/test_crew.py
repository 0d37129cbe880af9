"""Locust itself, in its own processes, against a small server that counts."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvloop
from aiohttp import web

from harness.errors import MissingPartError, RuntimeFailure
from harness.load.crew import Crew
from harness.load.job import Finished, Second
from harness.load.options import asked
from harness.load.shape import Shape
from harness.target import Target

ROOT = Path(__file__).parents[2]
SOURCE = "127.9.8.7"
HOST = "127.0.0.1"


class Counted:
    """A server that answers all and keeps what it was asked: (path, peer, organisation, body)."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, str, bytes]] = []
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.read()
        peer = request.transport.get_extra_info("peername")[0]
        self.requests.append((request.path, peer, request.headers.get("X-Org-Id", ""), body))
        missing = request.path.endswith("/missing")
        return web.json_response({"value": True}, status=404 if missing else 200)


@asynccontextmanager
async def counting():
    counted, app = Counted(), web.Application()
    app.router.add_route("*", "/{path:.*}", counted.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, HOST, 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    counted.url = f"http://{host}:{port}"
    try:
        yield counted
    finally:
        await runner.cleanup()


def run(coroutine, within=90):
    async def bounded():
        async with asyncio.timeout(within):
            return await coroutine

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(bounded())


async def everything(crew, stop_after=None):
    """What it says, to its end; asked to stop after that many seconds were told."""
    said, told = [], 0
    crew.go()
    async for message in crew.messages():
        said.append(message)
        told += isinstance(message, Second)
        if stop_after is not None and told >= stop_after:
            crew.stop()
    return said


@pytest.mark.e2e
def test_two_workers_count_what_the_server_counted_to_the_request(tmp_path):
    async def go():
        async with counting() as counted:
            job = asked(
                "evaluate", Target(), host=counted.url, users=6, rate=20.0, workers=2, org="acme",
                keys=("a", "missing"), sources={"europe": SOURCE}, shape=Shape(lasts=3.0),
            )  # fmt: skip
            crew = await Crew.start(job, tmp_path, "x", HOST)
            try:
                return counted, await everything(crew)
            finally:
                await crew.close()

    counted, said = run(go())
    finished, seconds = said[-1], said[:-1]
    assert isinstance(finished, Finished), said
    (total,) = finished.totals
    asked_for = [path for path, *_ in counted.requests]
    assert finished.missing == 0
    assert total.name == "evaluate"
    assert total.requests == len(asked_for) == sum(s.requests for s in seconds)
    assert total.requests > 100
    missing = sum(path.endswith("/missing") for path in asked_for)
    assert total.failures == missing == sum(s.failures for s in seconds)
    assert total.unanswered == 0
    assert {(peer, org) for _, peer, org, _ in counted.requests} == {(SOURCE, "acme")}
    assert max(s.users for s in seconds) == 6
    assert all(s.p50 <= s.p95 <= s.p99 for s in seconds)


@pytest.mark.e2e
def test_of_a_spot_the_share_of_its_group_is_kept(tmp_path):
    async def go():
        async with counting() as counted:
            job = asked(
                "evaluate", Target(), host=counted.url, users=6, rate=20.0, workers=1,
                sources={"europe": SOURCE, "americas": "127.9.8.8", "asia": "127.9.8.9"},
                shape=Shape(kind="spot", group="europe", most=0.7, lasts=3.0),
            )  # fmt: skip
            crew = await Crew.start(job, tmp_path, "x", HOST)
            try:
                await everything(crew)
            finally:
                await crew.close()
            return [peer for _, peer, *_ in counted.requests]

    peers = run(go())
    shares = {peer: peers.count(peer) / len(peers) for peer in set(peers)}
    assert len(peers) > 150
    # Five standard deviations of 150 draws.
    assert shares[SOURCE] == pytest.approx(0.7, abs=0.19)
    assert shares["127.9.8.8"] == pytest.approx(0.15, abs=0.15)
    assert set(shares) == {SOURCE, "127.9.8.8", "127.9.8.9"}


@pytest.mark.e2e
def test_a_worker_that_is_killed_leaves_no_totals_to_rely_on(tmp_path):
    async def go():
        async with counting() as counted:
            job = asked("evaluate", Target(), host=counted.url, users=4, rate=10.0, workers=2)
            crew = await Crew.start(job, tmp_path, "x", HOST)
            try:
                os.kill(crew.pids["worker 2"], signal.SIGKILL)
                return await everything(crew, stop_after=1)
            finally:
                await crew.close()

    finished = run(go())[-1]
    assert isinstance(finished, Finished)
    assert finished.missing == 1


PARENT = """
import asyncio, sys, time
from pathlib import Path
from harness.load.crew import Crew
from harness.load.options import asked
from harness.target import Target

async def main():
    job = asked("evaluate", Target(), host="http://127.0.0.1:1", workers=2)
    crew = await Crew.start(job, Path(sys.argv[1]), "x", "127.0.0.1")
    print(*crew.pids.values(), flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.e2e
def test_none_of_its_processes_outlives_whoever_started_it(tmp_path):
    argv = [sys.executable, "-c", PARENT, str(tmp_path)]
    parent = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        pids = [int(word) for word in parent.stdout.readline().split()]
    finally:
        parent.kill()
        parent.wait(10)
        parent.stdout.close()
    assert len(pids) == 3
    deadline = time.monotonic() + 10
    while left := [pid for pid in pids if alive(pid)]:
        assert time.monotonic() < deadline, f"{left} of {pids} live on"
        time.sleep(0.05)  # the condition is looked at each time


def test_without_locust_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("harness.load.crew.find_spec", lambda _: None)
    job = asked("evaluate", Target(), host="http://127.0.0.1:1")
    with pytest.raises(MissingPartError, match="locust is missing.*pip install locust"):
        run(Crew.start(job, tmp_path, "x", HOST))


@pytest.mark.e2e
def test_a_locust_that_can_not_begin_says_why(tmp_path):
    job = asked("evaluate", Target(), host="http://127.0.0.1:1")
    with pytest.raises(RuntimeFailure, match="locust ended before it began"):
        run(Crew.start(job, tmp_path, "x", "192.0.2.1"))


def test_the_harness_itself_never_loads_locust():
    code = "import sys, harness.cli, harness.probes, harness.scenario.execute, harness.checkers; print('locust' in sys.modules, 'gevent' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.split() == ["False", "False"]
