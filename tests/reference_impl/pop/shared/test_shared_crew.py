"""A PoP of several processes, started as a node is, over real sockets."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import aiohttp
import pytest

from reference_impl.config import NodeConfig
from reference_impl.main import run
from reference_impl.pop.shared.crew import pop_crew
from reference_impl.propagation.fanout import FanOut
from reference_impl.propagation.settings import FanOutSettings
from reference_impl.propagation.store import Store
from reference_impl.propagation.types import Change
from reference_impl.role import Env
from reference_impl.web import Site, json_response, stream_handler
from tests.reference_impl.support import own_host

DEADLINE = 20.0
WORKERS = 3


def definition(value):
    return {"state": "ENABLED", "variants": {"v": value}, "defaultVariant": "v"}


class Node:
    """The processes of one PoP, and a stream and an origin that it follows."""

    def __init__(self, folder):
        self.host = own_host()
        self.folder = folder
        self.store = Store()
        self.site = Site(dict, lambda: None)
        self.site.get("/stream", stream_handler(FanOut(self.store, FanOutSettings(heartbeat=0.2))))
        self.site.get("/v1/orgs/{org}/flags/{key}", self._flag)
        self.hidden = {}

    async def _flag(self, request):
        found = self.hidden.get(request.match_info["key"])
        if found is None:
            return json_response({"error": "no such flag"}, 404)
        return json_response({"flag": found, "version": 1, "seq": self.store.seq + 100})

    def put(self, key, value):
        seq = self.store.seq + 1
        assert self.store.apply(Change(seq, "default", seq, key, definition(value), at=0))

    async def __aenter__(self):
        await self.site.start("127.0.0.1", 0)
        here = {"to": "hub", "role": "hub", "host": "127.0.0.1", "port": self.site.port}
        file = {
            "name": "pop-1",
            "role": "pop",
            "listen": {"host": self.host, "port": 8080},
            "links": {"stream": [here], "origin": [here]},
            "settings": {
                "workers": WORKERS,
                "reconnect_spread": 0.05,
                "store_limit": 8 << 20,
                "popularity": {"threshold": 30, "window": 0.5},
            },
            "state_dir": str(self.folder),
        }
        path = self.folder / "pop-1.json"
        path.write_text(json.dumps(file))
        self.process = subprocess.Popen([sys.executable, "-m", "reference_impl.main", str(path)])
        self.put("counter", 0)
        await self.until(lambda: self.level("HEALTHY"))
        return self

    async def __aexit__(self, *_):
        self.process.kill()
        self.process.wait(10)
        await self.site.stop()

    async def level(self, wanted):
        try:
            return (await self.evaluate("counter"))["metadata"]["level"] == wanted
        except aiohttp.ClientError as error:
            return repr(error) and None

    async def until(self, condition):
        deadline = time.monotonic() + DEADLINE
        while not (seen := await condition()):
            assert time.monotonic() < deadline, f"last seen: {seen!r}"
            await asyncio.sleep(0.02)
        return seen

    async def evaluate(self, key):
        """On a connection of its own, so that any worker may answer."""
        async with (
            aiohttp.ClientSession() as session,
            session.post(
                f"http://{self.host}:8080/ofrep/v1/evaluate/flags/{key}", json={}
            ) as answer,
        ):
            return await answer.json(content_type=None)

    def children(self):
        """Name to pid."""
        tasks = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return {Path(f"/proc/{pid}/comm").read_text().strip(): int(pid) for pid in tasks.split()}

    async def all_answer(self, key, value):
        """Ask until every worker has answered; all with this value."""
        seen = set()
        deadline = time.monotonic() + DEADLINE
        while len(seen) < WORKERS:
            answer = await self.evaluate(key)
            assert answer["value"] == value, answer
            seen.add(answer["metadata"]["worker"])
            assert time.monotonic() < deadline, f"only {seen} answered"


@pytest.fixture
def on_node(tmp_path):
    def run_on(act):
        async def whole():
            async with Node(tmp_path) as node:
                await act(node)

        asyncio.run(asyncio.wait_for(whole(), 60))

    return run_on


def test_every_worker_shows_an_update_as_soon_as_one_has(on_node):
    async def act(node):
        for value in range(1, 6):
            node.put("counter", value)
            await node.until(partial(shows, node, value))
            await node.all_answer("counter", value)

    async def shows(node, value):
        return (await node.evaluate("counter"))["value"] == value

    on_node(act)


def test_a_flag_that_only_the_origin_has_is_found_by_any_worker(on_node):
    async def act(node):
        node.hidden["cold"] = definition("found")
        assert (await node.evaluate("cold"))["value"] == "found"
        node.hidden.clear()
        await node.all_answer("cold", "found")
        answer = await node.evaluate("nowhere")
        assert answer["errorCode"] == "FLAG_NOT_FOUND"

    on_node(act)


def test_what_is_not_evaluation_is_the_leads(on_node):
    async def act(node):
        url = f"http://{node.host}:8080"
        async with aiohttp.ClientSession() as session:
            async with session.get(f"{url}/status") as answer:
                status = await answer.json()
            assert (status["level"], status["seq"]) == ("HEALTHY", 1)
            async with session.get(f"{url}/ready") as answer:
                assert answer.status == 200
            async with session.get(f"{url}/nowhere") as answer:
                assert answer.status == 404
            async with session.post(f"{url}/evaluations", json={"worker": 0, "rates": []}) as told:
                assert told.status == 404  # only workers tell their lead what they evaluate
            async with session.get(f"{url}/stream") as answer:
                first = await answer.content.readuntil(b"\n\n")
                assert first.startswith(b"event: snapshot\nid: 1\n")
                node.put("counter", 7)
                text = b""
                while b"event: change\nid: 2\n" not in text:
                    text = await answer.content.readuntil(b"\n\n")

    on_node(act)


def test_a_flag_is_hot_by_what_all_workers_answer_and_to_all_of_them(on_node):
    async def act(node):
        node.put("rare", 1)
        url, shown = f"http://{node.host}:8080", {}

        async def asked(key, times):
            """What answers on one connection say of caches, and who gives them."""
            at = f"{url}/ofrep/v1/evaluate/flags/{key}"
            async with aiohttp.ClientSession() as session:
                for _ in range(times):
                    async with session.post(at, json={}) as answer:
                        body = await answer.json(content_type=None)
                        said = answer.headers.get("Cache-Control")
            return body["metadata"]["worker"], said

        async def everywhere():
            worker, said = await asked("counter", 10)
            shown[worker] = said
            return shown == dict.fromkeys(range(WORKERS), "public, max-age=2") or None

        await node.until(everywhere)
        assert {said for _, said in [await asked("rare", 2) for _ in range(5)]} == {None}
        async with aiohttp.ClientSession() as session, session.get(f"{url}/status") as answer:
            status = await answer.json()
        assert status["hot"].keys() == {"default/counter"}
        assert status["prewarmed"] == {"default/counter": 1}

    on_node(act)


def test_a_killed_worker_is_replaced_and_the_others_answer_meanwhile(on_node):
    async def act(node):
        before = node.children()
        assert sorted(before) == ["lead", "worker-0", "worker-1", "worker-2"]
        os.kill(before["worker-1"], signal.SIGKILL)

        async def replaced():
            now = node.children()
            return now.get("worker-1", before["worker-1"]) != before["worker-1"] and len(now) == 4

        await node.until(replaced)
        after = node.children()
        assert {**after, "worker-1": 0} == {**before, "worker-1": 0}
        await node.all_answer("counter", 0)
        node.put("counter", 1)

        async def shown():
            return (await node.evaluate("counter"))["value"] == 1

        await node.until(shown)
        await node.all_answer("counter", 1)

    on_node(act)


def test_the_node_ends_with_its_lead_and_on_sigterm(on_node):
    async def act(node):
        children = node.children()
        node.process.terminate()
        assert await asyncio.to_thread(node.process.wait, 10) == 0
        assert not any(Path(f"/proc/{pid}").exists() for pid in children.values())

    async def lead(node):
        children = node.children()
        os.kill(children["lead"], signal.SIGKILL)
        assert await asyncio.to_thread(node.process.wait, 10) != 0
        assert not any(Path(f"/proc/{pid}").exists() for pid in children.values())

    on_node(act)
    on_node(lead)


def test_workers_die_with_their_parent(on_node):
    async def act(node):
        children = node.children()
        node.process.kill()
        node.process.wait(10)

        async def gone():
            return not any(alive(pid) for pid in children.values())

        await node.until(gone)

    on_node(act)


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_one_worker_is_one_process():
    config = NodeConfig(name="p", role="pop", listen={"host": "127.0.0.1", "port": 0})
    assert pop_crew(config, Env(random.Random(1), time.time_ns, "boot")) is None


def test_settings_that_are_wrong_are_said_at_once(capsys):
    from reference_impl.config import ConfigError, Listen

    config = NodeConfig(
        name="p", role="pop", listen=Listen("127.0.0.1", 0), settings={"workers": 0}
    )
    with pytest.raises(ConfigError, match="workers"):
        run(config)
