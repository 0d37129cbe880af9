"""A real crowd at a stream that does as it is told."""

import asyncio
import sys
from pathlib import Path

import pytest

from harness.crowd.process import CrowdProcess
from harness.crowd.streams import Options
from harness.errors import RuntimeFailure
from tests.network.netlab import claim_host

NODE = Path(__file__).with_name("stream_node.py")
WITHIN = 10.0


class Node:
    def __init__(self):
        self.host = claim_host()

    async def __aenter__(self):
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(NODE), self.host, "8080"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert await self.process.stdout.readline() == b"up\n"
        return self

    async def __aexit__(self, *_):
        self.process.stdin.close()
        await self.process.wait()

    async def say(self, command):
        self.process.stdin.write(f"{command}\n".encode())
        async with asyncio.timeout(WITHIN):
            return (await self.process.stdout.readline()).decode().split()


async def told_until(crowd, condition):
    deadline = asyncio.get_running_loop().time() + WITHIN
    while True:
        told = await crowd.ask()
        if condition(told):
            return told
        assert asyncio.get_running_loop().time() < deadline, told
        await asyncio.sleep(0.02)


def scene(act, streams=20, **options):
    async def main():
        async with Node() as node:
            headers = {"X-Node-Role": "pop"}
            crowd = CrowdProcess(
                Options(node.host, 8080, streams, headers=headers, spread=0.1, **options)
            )
            try:
                await crowd.start()
                await told_until(crowd, lambda told: told.open == streams)
                await act(node, crowd)
            finally:
                await crowd.end()

    asyncio.run(main())


def test_all_are_open_and_see_each_change_once():
    async def act(node, crowd):
        for n in (6, 7, 8):
            await node.say(f"send {n}")
        told = await told_until(crowd, lambda told: told.changes >= 60)
        assert (told.changes, told.gaps, told.repeats, told.closes) == (60, 0, 0, 0)
        assert (told.first, told.last, told.measured) == (8, 8, 60)
        assert 0 < told.p50 <= told.p99 <= told.max
        assert len(told.came) == 20
        await crowd.ask(forget=True)
        told = await crowd.ask()
        assert (told.measured, told.came, told.changes) == (0, [], 60)

    scene(act)


def test_gaps_and_repeats_are_seen():
    async def act(node, crowd):
        await node.say("send 6")
        await node.say("send 8")
        await node.say("send 8")
        told = await told_until(crowd, lambda told: told.changes >= 60)
        assert (told.gaps, told.repeats) == (20, 20)

    scene(act)


def test_those_that_are_cut_come_back_by_what_they_have():
    async def act(node, crowd):
        await node.say("send 6")
        await told_until(crowd, lambda told: told.first == 6)
        await node.say("cut")
        told = await told_until(crowd, lambda told: told.connects == 40 and told.open == 20)
        assert (told.closes, told.gaps) == (20, 0)
        asked = (await node.say("asked"))[1:]
        assert asked == ["-/pop"] * 20 + ["6/pop"] * 20

    scene(act)


def test_a_slow_one_reads_later():
    async def act(node, crowd):
        await node.say("send 6")
        told = await told_until(crowd, lambda told: told.changes >= 15)
        assert told.changes == 15
        assert told.first == 5
        told = await told_until(crowd, lambda told: told.changes == 20)
        assert (told.first, told.gaps) == (6, 0)

    scene(act, slow=5, slow_for=2.0)


def test_where_nobody_listens_none_is_open():
    async def main():
        crowd = CrowdProcess(Options(claim_host(), 8080, 3, spread=0.01))
        await crowd.start()
        try:
            told = await told_until(crowd, lambda told: told.closes > 6)
            assert (told.open, told.error) == (0, "Connection refused")
        finally:
            await crowd.end()
            await crowd.end()
        with pytest.raises(RuntimeFailure, match="not begun"):
            await crowd.ask()

    asyncio.run(main())


def test_it_ends_with_its_stdin():
    async def main():
        crowd = CrowdProcess(Options(claim_host(), 8080, 1, spread=1.0))
        await crowd.start()
        crowd._process.stdin.close()
        async with asyncio.timeout(WITHIN):
            assert await crowd._process.wait() == 0

    asyncio.run(main())
