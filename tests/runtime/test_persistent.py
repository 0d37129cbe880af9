from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys

import pytest

from harness import undos
from harness.errors import RuntimeFailure, SquallError
from harness.fault import Undo
from harness.runtime import doctor, limits, persistent, procfs
from harness.runtime.base import NodeState
from harness.runtime.spot import Spot
from tests.runtime import contract

FAULT = """
import asyncio, sys
from harness.fault import Undo
from harness.runtime import persistent

async def run():
    cluster = await persistent.attach(sys.argv[1])
    await cluster.record(Undo(action="resume", subject="a"))
    await cluster.pause("a")
    await cluster.record(Undo(action="restore", subject="a->b"))
    await cluster.network.cut("a->b")
    await cluster.record(Undo(action="start", subject="b"))
    await cluster.kill("b")
    print("holding", flush=True)
    await asyncio.Event().wait()

asyncio.run(run())
"""


@pytest.fixture
def cluster_name(squall_home, request):
    """Whatever a test leaves up is taken down."""
    name = "t-" + str(abs(hash(request.node.name)) % 10**6)
    yield name
    if name in persistent.list_clusters():
        asyncio.run(persistent.down(name))
    assert doctor.find_leftovers() == []


async def until(condition, within=10.0):
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within
    while not condition():
        assert loop.time() < deadline, "the condition did not come true"
        await asyncio.sleep(0.01)


def test_up_attach_operate_down(cluster_name):
    async def run():
        made = await persistent.up(contract.topology(), cluster_name)
        assert cluster_name in persistent.list_clusters()
        await made.detach()
        with pytest.raises(SquallError, match="is up already"):
            await persistent.up(contract.topology(), cluster_name)
        one, two = await persistent.attach(cluster_name), await persistent.attach(cluster_name)
        assert one.plan == made.plan
        await one.kill("b")
        await until(lambda: two.state("b") is NodeState.EXITED)
        await two.start("b")
        await until(lambda: one.pid("b") == two.pid("b"))
        assert await contract.get(two, "a", "/links/peer") == "b"
        family = [each for node in ("a", "b", "@toxiproxy") for each in procfs.tree(two.pid(node))]
        await one.detach()
        await two.detach()
        await persistent.down(cluster_name)
        assert [each for each in family if procfs.alive(each.pid, each.start)] == []
        assert persistent.list_clusters() == []
        with pytest.raises(SquallError, match="is up"):
            await persistent.attach(cluster_name)

    asyncio.run(run())


def test_a_killed_fault_command_is_undone_by_the_warden(cluster_name):
    async def run():
        await (await persistent.up(contract.topology(), cluster_name)).detach()
        command = subprocess.Popen(
            [sys.executable, "-c", FAULT, cluster_name],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert command.stdout.readline() == b"holding\n"
        cluster = await persistent.attach(cluster_name)
        assert cluster.state("a") is NodeState.PAUSED
        assert cluster.state("b") is NodeState.EXITED
        assert not (await cluster.network.state("a->b")).enabled
        assert len(await cluster.outstanding()) == 3
        command.kill()
        command.wait(5)
        command.stdout.close()
        await until(lambda: cluster.state("a") is NodeState.RUNNING)
        await until(lambda: cluster.pid("b") is not None)
        await cluster.ready("b")
        while await cluster.outstanding():
            await asyncio.sleep(0.02)
        assert await contract.get(cluster, "a", "/links/peer") == "b"
        await cluster.detach()

    asyncio.run(asyncio.wait_for(run(), 30))


def test_a_held_fault_waits_for_heal(cluster_name):
    async def run():
        async with asyncio.timeout(20):
            made = await persistent.up(contract.topology(), cluster_name)
            kept = await made.record(Undo(action="restore", subject="a->b"), hold=True)
            await made.network.cut("a->b")
            done = await made.record(Undo(action="resume", subject="a"))
            await made.done(done)
            await made.detach()
            again = await persistent.attach(cluster_name)
            [entry] = await again.outstanding()
            assert (entry.id, entry.undo.action) == (kept, "restore")
            assert not (await again.network.state("a->b")).enabled
            await again.carry_out([entry])
            assert (await again.network.state("a->b")).enabled
            assert await again.outstanding() == []
            bad = await again.record(Undo(action="restore", subject="no->link"), hold=True)
            with pytest.raises(RuntimeFailure, match="could not restore no->link"):
                await again.carry_out(await again.outstanding())
            await again.done(bad)
            await again.detach()

    asyncio.run(run())


def test_a_cluster_that_does_not_get_ready_leaves_nothing(cluster_name, squall_home):
    with pytest.raises(RuntimeFailure, match="b exited with 3"):
        asyncio.run(persistent.up(contract.topology(b={"exit": 3}), cluster_name))
    assert persistent.list_clusters() == []


def test_a_killed_warden_of_a_kept_cluster_is_found_by_the_doctor(cluster_name):
    async def run():
        made = await persistent.up(contract.topology(), cluster_name)
        family = [each for node in ("a", "b") for each in procfs.tree(made.pid(node))]
        warden = procfs.look(made.pid("a")).parent
        await made.detach()
        os.kill(warden, signal.SIGKILL)
        await until(lambda: not [each for each in family if procfs.alive(each.pid, each.start)])
        await until(doctor.find_leftovers)
        assert persistent.list_clusters() == []
        doctor.clean(doctor.find_leftovers())

    asyncio.run(run())


@pytest.mark.parametrize("name", ["../x", "", "UP", "a" * 40])
def test_names_that_cannot_be(squall_home, name):
    with pytest.raises(SquallError, match="can't be the name"):
        asyncio.run(persistent.attach(name))


def test_unknown_names_are_told(squall_home):
    with pytest.raises(SquallError, match=r"no cluster 'ghost' is up \(known: none\)"):
        asyncio.run(persistent.down("ghost"))


def test_config_of_a_kept_cluster_is_in_its_room(cluster_name, squall_home):
    async def run():
        made = await persistent.up(contract.topology(), cluster_name)
        config = json.loads(await contract.get(made, "a", "/config"))
        await made.detach()
        return config

    assert asyncio.run(run())["state_dir"].startswith(str(squall_home))


def test_a_flipped_bit_is_mended_by_the_warden(cluster_name):
    async def run():
        async with asyncio.timeout(20):
            made = await persistent.up(contract.topology(), cluster_name)
            file = made.folder("a") / "kept"
            file.write_bytes(b"whole")
            spot = Spot.choose(made.folder("a"), "kept")
            undo = Undo(action="mend", subject="a", detail=str(spot))
            await made.record(undo, hold=True)
            spot.flip(made.folder("a"))
            await made.detach()
            again = await persistent.attach(cluster_name)
            assert file.read_bytes() != b"whole"
            assert await undos.condition(again, undo) == "a has a flipped bit in kept"
            await again.carry_out(await again.outstanding())
            assert file.read_bytes() == b"whole"
            assert (
                await undos.condition(again, undo)
                == f"{undos.words(undo)}, as recorded, but no longer"
            )
            assert (await undos.healed(again, undo))[0]
            await again.detach()

    asyncio.run(run())


def test_writes_to_disk_are_allowed_again_by_the_warden(cluster_name):
    async def run():
        async with asyncio.timeout(20):
            made = await persistent.up(contract.topology(), cluster_name)
            undo = Undo(action="lift", subject="a")
            await made.record(undo, hold=True)
            (process, *_) = await made.processes("a")
            limits.fill([process.pid])
            await made.detach()
            again = await persistent.attach(cluster_name)
            assert limits.limited(process.pid)
            assert await undos.condition(again, undo) == "a can write nothing to disk"
            await again.carry_out(await again.outstanding())
            assert not limits.limited(process.pid)
            assert (await undos.healed(again, undo))[0]
            await again.detach()

    asyncio.run(run())
