"""A PoP whose workers come and go, started as a node is, over real sockets."""

import asyncio
import json
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import aiohttp
import pytest

from tests.reference_impl.support import own_host

DEADLINE = 30.0
EACH = 20  # requests/s that a worker is to have
POLICY = {"target": EACH, "cooldown": 0.5, "window": 0.5, "maximum": 3, "leave_within": 1.0}


class Node:
    def __init__(self, folder, **policy):
        self.url = f"http://{own_host()}:8080"
        file = {
            "name": "pop-1",
            "role": "pop",
            "listen": {"host": self.url[7:-5], "port": 8080},
            "settings": {
                "autoscale": {**POLICY, **policy},
                "defaults": {"on": True},
                "store_limit": 8 << 20,
            },
            "state_dir": str(folder),
        }
        path = folder / "pop-1.json"
        path.write_text(json.dumps(file))
        self.process = subprocess.Popen([sys.executable, "-m", "reference_impl.main", str(path)])

    def workers(self):
        tasks = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        names = [Path(f"/proc/{pid}/comm").read_text().strip() for pid in tasks.split()]
        return sorted(name for name in names if name != "lead")


async def evaluate(session, node):
    """The worker that answered, as it says."""
    async with session.post(f"{node.url}/ofrep/v1/evaluate/flags/on", json={}) as answer:
        told = await answer.json(content_type=None)
        assert (answer.status, told["value"]) == (200, True)
        return told["metadata"]["worker"]


async def status(node):
    async with aiohttp.ClientSession() as session, session.get(f"{node.url}/status") as answer:
        return (await answer.json()).get(
            "scaling", {}
        )  # a worker whose lead is not up yet has none


async def until(condition):
    deadline = time.monotonic() + DEADLINE
    while not (seen := await condition()):
        assert time.monotonic() < deadline, f"last seen: {seen!r}"
        await asyncio.sleep(0.02)


def running(made):
    yield made
    made.process.kill()
    made.process.wait(10)


@pytest.fixture
def node(tmp_path):
    yield from running(Node(tmp_path))


@pytest.fixture
def slow(tmp_path):
    """One that takes no second step while a test lasts."""
    yield from running(Node(tmp_path, cooldown=600))


async def load(node, rate, stop, answered, *, kept):
    """No request fails. `kept`: on connections that are kept; aiohttp closes those that it is told to."""
    connector = aiohttp.TCPConnector(force_close=not kept)
    async with aiohttp.ClientSession(connector=connector) as session:
        while not stop.is_set():
            answered.append(await evaluate(session, node))
            await asyncio.sleep(1 / rate)


def test_workers_come_and_go_with_the_load_and_no_request_is_lost(node):
    async def act():
        async def serves():
            try:
                return (await status(node)).get("workers") == 1
            except aiohttp.ClientError:
                return False

        await until(serves)
        answered, stop, stop_more = [], asyncio.Event(), asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for kept in (True, False):
                group.create_task(load(node, EACH / 4, stop, answered, kept=kept))
                for _ in range(3):
                    group.create_task(load(node, 2 * EACH, stop_more, answered, kept=kept))

            async def three():
                return (await status(node))["serving"] == 3 and set(answered[-50:]) == {0, 1, 2}

            await until(three)
            assert node.workers() == ["worker-0", "worker-1", "worker-2"]
            stop_more.set()

            async def one():
                return node.workers() == ["worker-0"] and set(answered[-5:]) == {0}

            await until(one)
            stop.set()
        told = await status(node)
        steps = [(step["from"], step["to"]) for step in told["steps"]]
        assert all(abs(before - after) == 1 for before, after in steps)
        assert max(after for _, after in steps) == 3
        at = [step["at"] for step in told["steps"]]
        assert all(later - earlier >= 0.5e9 for earlier, later in pairwise(at))
        assert told["requests"] >= len(answered)

    asyncio.run(asyncio.wait_for(act(), 2 * DEADLINE))


async def scale(node, body, method="POST"):
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, f"{node.url[:-4]}8081/scale", data=body) as answer,
    ):
        return answer.status


def test_a_controller_gets_workers_at_once_and_has_connections_let_go(slow):
    async def act():
        async def serving(workers):
            try:
                return (await status(slow)).get("serving") == workers
            except aiohttp.ClientError:
                return False

        await until(lambda: serving(1))
        assert await scale(slow, b'{"workers": 2}') == 200
        step = (await status(slow))["steps"][0]
        assert (step["from"], step["to"], step["reason"]) == (1, 3, "hot spot")
        assert await scale(slow, b'{"workers": -1}') == 400
        assert await scale(slow, b"", "GET") == 405
        await until(lambda: serving(3))
        async with aiohttp.ClientSession() as session:
            url = f"{slow.url}/ofrep/v1/evaluate/flags/on"

            async def closed():
                async with session.post(url, json={}) as answer:
                    return answer.headers.get("connection") == "close"

            async def kept():
                return not any([await closed() for _ in range(20)])

            await until(kept)  # those that were made before the workers came are told by then
            assert await scale(slow, b'{"shed": 1}') == 200
            await until(closed)

    asyncio.run(asyncio.wait_for(act(), 2 * DEADLINE))
