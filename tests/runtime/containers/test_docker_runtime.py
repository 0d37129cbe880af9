"""The docker runtime on a real engine: the contract of all runtimes, and what only containers promise."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import asyncpg
import pytest

from faults.disconnect import Disconnect
from harness.cli import main
from harness.errors import RuntimeFailure, SquallError
from harness.runtime.containers.engine import LEASE, ROOM, Network, connect
from harness.runtime.containers.leases import clean_strays, find_strays
from harness.runtime.containers.runtime import DockerRuntime
from tests.conformance.support import ROOT, SHORT, environment
from tests.runtime import contract
from tests.runtime.containers.lab import needs_engine, parts

pytestmark = [pytest.mark.docker, pytest.mark.e2e, needs_engine]


@pytest.fixture
def engine():
    made = connect()
    yield made
    made.close()


@pytest.fixture
def runtime(warden, engine):
    yield DockerRuntime(warden.socket, parts().image, seed=7)
    deadline = time.monotonic() + 20  # what is only planned goes when the warden has heard of it
    while (left := ours(engine, warden.room.path)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left == []


def ours(engine, room: Path) -> list[str]:
    containers, networks = engine.labelled(f"{ROOM}={room}")
    return [c["Names"][0] for c in containers] + [n["Name"] for n in networks]


def test_keeps_the_contract(runtime, tmp_path):
    asyncio.run(contract.check_all(runtime, tmp_path))
    assert "toy: a serves" in (tmp_path / "logs" / "a.log").read_text()


def test_servers_keep_their_data(runtime, tmp_path):
    async def run():
        plan = runtime.plan(contract.topology("tests.runtime.toy", "postgres", "redis"), tmp_path)
        async with await runtime.start(plan) as cluster:
            host = plan.node["postgres"].host
            db = await asyncpg.connect(host=host, user="squall", database="squall", ssl=False)
            await db.execute("CREATE TABLE t AS SELECT 42 AS x")
            await cluster.kill("postgres")
            await cluster.start("postgres")
            db = await asyncpg.connect(host=host, user="squall", database="squall", ssl=False)
            assert await db.fetchval("SELECT x FROM t") == 42
            await db.close()
            await cluster.stop("postgres")
            assert (
                "fast shutdown" in cluster.engine.log(cluster.layout.container("postgres")).decode()
            )

    asyncio.run(run())


def test_only_links_lead_to_another_zone(runtime, tmp_path):
    """Not even by the address that the other node listens on."""

    async def run():
        topology = contract.topology()
        b = topology.nodes["b"]
        nodes = {**topology.nodes, "b": type(b)("b", "toy", "z2", "r1", {})}
        split = type(topology)(
            topology.name, topology.program, {"r1": ("z1", "z2")}, nodes, topology.links,
            topology.clients, topology.endpoints,
        )  # fmt: skip
        async with await runtime.start(runtime.plan(split, tmp_path)) as cluster:
            assert await contract.get(cluster, "a", "/links/peer") == "b"
            at = cluster.plan.node["b"]
            dial = (
                "import socket; s = socket.socket(); s.settimeout(2); "
                f"print(s.connect_ex(('{at.host}', {at.port})))"
            )
            client = cluster.engine.client
            container = client.containers.get(cluster.layout.container("a"))
            code, said = container.exec_run(["python", "-c", dial])
            assert code == 0
            assert int(said) != 0
            assert await contract.answers(cluster, "b", 5)

    asyncio.run(run())


def test_a_disconnected_node_runs_on_alone(runtime, tmp_path):
    async def run():
        async with await runtime.start(runtime.plan(contract.topology(), tmp_path)) as cluster:
            fault = Disconnect("b")
            fault.check(cluster)
            assert not (await fault.verify(cluster)).bit
            for _ in range(2):
                await fault.inject(cluster)
            proof = await fault.verify(cluster)
            assert proof.bit, proof.seen
            assert "b is running" in proof.seen
            assert not await cluster.connected("b")
            for _ in range(2):
                await fault.heal(cluster)
            healed = await fault.verify_healed(cluster)
            assert healed.bit, healed.seen
            assert await contract.get(cluster, "a", "/links/peer") == "b"

    asyncio.run(run())


def test_nodes_have_no_more_rights_than_they_need(runtime, tmp_path):
    async def run():
        async with await runtime.start(runtime.plan(contract.topology(), tmp_path)) as cluster:
            found = cluster.engine.client.api.inspect_container(cluster.layout.container("a"))
            assert found["Config"]["User"] not in ("", "0", "root")
            assert found["HostConfig"]["CapDrop"] == ["ALL"]
            assert found["HostConfig"]["Memory"] > 0
            assert found["HostConfig"]["PidsLimit"] > 0
            assert not found["HostConfig"]["PortBindings"]
            assert not found["HostConfig"]["Binds"]

    asyncio.run(run())


def test_a_node_that_exits_is_told_with_its_last_words(runtime, tmp_path):
    with pytest.raises(RuntimeFailure, match=r"b exited with 3\n    toy: told to exit"):
        asyncio.run(runtime.start(runtime.plan(contract.topology(b={"exit": 3}), tmp_path)))


def test_a_program_that_is_not_there(runtime, tmp_path):
    with pytest.raises(SquallError, match=r"'no.such' can't be imported"):
        asyncio.run(runtime.start(runtime.plan(contract.topology("no.such"), tmp_path)))


def test_two_clusters_never_share_addresses(runtime, tmp_path):
    one = runtime.plan(contract.topology(), tmp_path / "1")
    two = runtime.plan(contract.topology(), tmp_path / "2")
    assert not {a.host for a in one.node.values()} & {a.host for a in two.node.values()}
    for plan in (one, two):
        runtime.release(plan)


def test_what_nobody_holds_is_found_and_removed(engine, squall_home):
    labels = {LEASE: "test-of-strays", ROOM: str(squall_home / "wardens" / "gone")}
    network = Network("squall-test-of-strays", "198.19.252.0/26", "198.19.252.1")
    engine.create_network(network, labels)
    [stray] = [each for each in find_strays() if each.lease == "test-of-strays"]
    assert "1 networks (squall-test-of-strays)" in str(stray)
    clean_strays([stray])
    assert not [each for each in find_strays() if each.lease == "test-of-strays"]


@pytest.mark.parametrize("moment", [2.0, 4.5, 8.0])
def test_sigkill_of_a_run_leaves_nothing(engine, tmp_path, squall_home, moment):
    home = squall_home / f"kill-{moment:g}"
    run = subprocess.Popen(
        [sys.executable, "-m", "harness", "run", str(SHORT), "--runtime", "docker", "--out", str(tmp_path)],
        cwd=ROOT,
        env=environment(SQUALL_DIR=str(home)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )  # fmt: skip
    time.sleep(moment)  # it is the moment that is asked for
    os.kill(run.pid, signal.SIGKILL)
    run.wait(10)
    run.stdout.close()
    deadline = time.monotonic() + 10
    rooms = home / "wardens"
    mine = f"{ROOM}={rooms}"

    def left() -> list[str]:
        containers, networks = engine.labelled(ROOM)
        return [
            each["Names"][0] if "Names" in each else each["Name"]
            for each in (*containers, *networks)
            if f"{ROOM}={each['Labels'][ROOM]}".startswith(mine)
        ] + [str(room) for room in rooms.glob("*")]

    while left() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left() == []


def test_a_cluster_to_play_with(tmp_path, capsys, squall_home):
    topology = tmp_path / "toys.yaml"
    topology.write_text(
        "name: boxed-toys\nprogram: tests.runtime.toy\nregions: {r: [z]}\n"
        "nodes:\n  a: {role: toy, zone: z}\n  b: {role: toy, zone: z}\n"
        "links:\n  - {from: a, to: b, as: peer}\nclients: {users: r}\nendpoints: {evaluate: a, write: b}\n"
    )

    def cli(*argv):
        code = main([str(word) for word in argv])
        return code, capsys.readouterr().out

    code, out = cli("up", topology, "--runtime", "docker")
    try:
        assert code == 0
        assert "docker logs squall-198-1" in out
        assert cli("fault", "crash", "b")[0] == 0
        assert cli("fault", "disconnect", "a")[0] == 0
        assert cli("fault", "cut", "a->b")[0] == 0
        _, out = cli("status")
        assert out.splitlines()[-3:] == [
            "in force: a->b is cut",
            "in force: a is disconnected",
            "in force: b is down",
        ]
        code, out = cli("heal")
        assert code == 0, out
        assert [line.split(": ")[0] for line in out.splitlines()] == [
            "healed (a->b is cut)",
            "healed (a is disconnected)",
            "healed (b is down)",
        ]
        code, out = cli("fault", "hang", "b", "--for", "100ms")
        assert code == 0, out
        assert cli("status")[1].endswith("no fault is in force\n")
    finally:
        assert cli("down", "boxed-toys")[0] == 0
    assert not list((squall_home / "wardens").glob("up-boxed-toys"))
