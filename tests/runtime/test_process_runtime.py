from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from pathlib import Path

import asyncpg
import pytest

from harness.errors import RuntimeFailure, SquallError
from harness.runtime import procfs
from harness.runtime.addresses import prefix_of
from harness.runtime.base import NodeState
from harness.runtime.process import ProcessRuntime
from tests.runtime import contract


@pytest.fixture
def runtime(warden):
    with ProcessRuntime(warden.socket, seed=7) as made:
        yield made


def test_keeps_the_contract(runtime, tmp_path):
    asyncio.run(contract.check_all(runtime, tmp_path))


def test_node_config_is_what_the_architecture_says(runtime, tmp_path):
    async def run():
        plan = runtime.plan(contract.topology(a={"x": [1, {"address_of": "b"}]}), tmp_path)
        async with await runtime.start(plan) as cluster:
            return plan, json.loads(await contract.get(cluster, "a", "/config"))

    plan, config = asyncio.run(run())
    prefix = prefix_of(plan)
    assert isinstance(config.pop("seed"), int)
    assert config.pop("state_dir").endswith(f"/{prefix}/a")
    assert config == {
        "name": "a",
        "role": "toy",
        "region": "r1",
        "zone": "z1",
        "listen": {"host": f"{prefix}.2", "port": 8080},
        "links": {
            "peer": [
                {
                    "to": "b",
                    "role": "toy",
                    "host": f"{prefix}.200",
                    "port": 20000,
                    "address": f"{prefix}.3",
                }
            ]
        },
        "clients": {f"{prefix}.231": "users"},
        "settings": {"x": [1, f"{prefix}.3"]},
    }


def test_servers_survive_kill_and_pause_with_their_data(runtime, tmp_path):
    async def run():
        plan = runtime.plan(contract.topology("tests.runtime.toy", "postgres", "redis"), tmp_path)
        async with await runtime.start(plan) as cluster:
            host = plan.node["postgres"].host
            db = await asyncpg.connect(host=host, user="squall", database="squall", ssl=False)
            await db.execute("CREATE TABLE t AS SELECT 42 AS x")
            await cluster.pause("postgres")
            with pytest.raises(TimeoutError):  # its backend, in a session of its own, is paused too
                await asyncio.wait_for(
                    asyncio.shield(asking := asyncio.ensure_future(db.fetchval("SELECT 1"))), 0.2
                )
            await cluster.resume("postgres")
            assert await asyncio.wait_for(asking, 5) == 1
            family = procfs.tree(cluster.pid("postgres"))
            assert len(family) > 3
            await cluster.kill("postgres")
            assert [each for each in family if procfs.alive(each.pid, each.start)] == []
            await cluster.start("postgres")
            again = await asyncpg.connect(host=host, user="squall", database="squall", ssl=False)
            assert await again.fetchval("SELECT x FROM t") == 42
            await again.close()
            await cluster.stop("postgres")
            await cluster.stop("redis")
            assert cluster.state("redis") is NodeState.EXITED
            assert "fast shutdown request" in cluster.log("postgres").read_text()
            db.terminate()

    asyncio.run(run())


def test_postgres_lets_in_nobody_else(runtime, tmp_path):
    async def run():
        plan = runtime.plan(contract.topology("tests.runtime.toy", "postgres"), tmp_path)
        async with await runtime.start(plan):
            host = plan.node["postgres"].host
            with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
                await asyncpg.connect(host=host, user="postgres", database="squall", ssl=False)
            with socket.socket() as probe:  # its own address alone
                assert probe.connect_ex(("127.0.0.1", 5432)) != 0 or host != "127.0.0.1"

    asyncio.run(run())


def test_clusters_go_side_by_side(runtime, tmp_path):
    async def run():
        plans = [runtime.plan(contract.topology(), tmp_path / str(n)) for n in range(3)]
        assert len({prefix_of(plan) for plan in plans}) == 3
        clusters = await asyncio.gather(*(runtime.start(plan) for plan in plans))
        await clusters[0].kill("b")
        await clusters[1].close()
        assert clusters[2].state("b") is NodeState.RUNNING
        assert await contract.get(clusters[2], "a", "/links/peer") == "b"
        assert clusters[0].state("a") is NodeState.RUNNING
        await asyncio.gather(*(cluster.close() for cluster in clusters))

    asyncio.run(run())


def test_taps_lie_between_the_link_and_its_node(runtime, tmp_path):
    """The link sends to the tap; the tap, a server of ours, answers in b's place."""

    async def run():
        async def tapped(reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\n\r\ntapped")
            writer.close()

        plan = runtime.plan(contract.topology(), tmp_path, taps=("a->b",))
        tap = plan.tap["a->b"]
        async with (
            await asyncio.start_server(tapped, tap.host, tap.port),
            await runtime.start(plan) as cluster,
        ):
            assert await contract.get(cluster, "a", "/links/peer") == "tapped"

    asyncio.run(run())


def test_a_tap_on_no_link_is_refused(runtime, tmp_path):
    with pytest.raises(ValueError, match="no link 'x->y'"):
        runtime.plan(contract.topology(), tmp_path, taps=("x->y",))


def test_a_node_that_exits_is_named_with_its_last_words(runtime, tmp_path):
    plan = runtime.plan(contract.topology(b={"exit": 3}), tmp_path)
    with pytest.raises(RuntimeFailure, match=r"b exited with 3\n    toy: told to exit"):
        asyncio.run(runtime.start(plan))


def test_a_node_that_is_never_ready_is_named(runtime, tmp_path, monkeypatch):
    monkeypatch.setattr("harness.runtime.process.START_WITHIN", 0.2)
    plan = runtime.plan(contract.topology("tests.runtime.mute"), tmp_path)
    with pytest.raises(
        RuntimeFailure, match=r"a \(starting\) was not ready within 1 s: .*\n    mute: here"
    ):
        asyncio.run(runtime.start(plan))


def test_a_program_that_cannot_be_imported(runtime, tmp_path):
    plan = runtime.plan(contract.topology("no.such.program"), tmp_path)
    with pytest.raises(
        SquallError, match="'no.such.program' can't be imported: ModuleNotFoundError"
    ):
        asyncio.run(runtime.start(plan))


def test_a_plan_can_be_given_up_and_started_only_once(runtime, tmp_path):
    plan = runtime.plan(contract.topology(), tmp_path)
    runtime.release(plan)
    runtime.release(plan)
    with pytest.raises(RuntimeFailure, match="was not made by this runtime"):
        asyncio.run(runtime.start(plan))


def test_stop_kills_what_does_not_listen(runtime, tmp_path, monkeypatch):
    monkeypatch.setattr("harness.runtime.process.STOP_WITHIN", 0.3)

    async def run():
        async with await runtime.start(
            runtime.plan(contract.topology(b={"deaf": True}), tmp_path)
        ) as cluster:
            await cluster.stop("b")
            assert cluster.state("b") is NodeState.EXITED
            assert "toy: deaf" in cluster.log("b").read_text()

    asyncio.run(run())


def test_stop_is_graceful_and_kill_is_not(runtime, tmp_path):
    async def run():
        async with await runtime.start(runtime.plan(contract.topology(), tmp_path)) as cluster:
            goodbyes = {
                node: Path(json.loads(await contract.get(cluster, node, "/config"))["state_dir"])
                / "goodbye"
                for node in ("a", "b")
            }
            await cluster.stop("a")
            await cluster.kill("b")
            assert {node: path.exists() for node, path in goodbyes.items()} == {
                "a": True,
                "b": False,
            }

    asyncio.run(run())


def test_children_of_a_node_end_with_it(runtime, tmp_path):
    async def run():
        async with await runtime.start(runtime.plan(contract.topology(), tmp_path)) as cluster:
            killed = procfs.look(int(await contract.get(cluster, "a", "/child")))
            orphan = procfs.look(int(await contract.get(cluster, "b", "/child")))
            await cluster.kill("a")
            assert procfs.alive(killed.pid, killed.start) is None
            os.kill(
                cluster.pid("b"), signal.SIGKILL
            )  # alone, and not by us: the child gets a new parent
            await until(lambda: procfs.alive(orphan.pid, orphan.start) is None)
            assert cluster.state("b") is NodeState.EXITED

    asyncio.run(run())


def test_state_is_what_the_kernel_sees(runtime, tmp_path):
    async def run():
        async with await runtime.start(runtime.plan(contract.topology(), tmp_path)) as cluster:
            pid = cluster.pid("b")
            os.kill(pid, signal.SIGSTOP)
            await until(lambda: cluster.state("b") is NodeState.PAUSED)
            os.kill(pid, signal.SIGKILL)
            await until(lambda: cluster.state("b") is NodeState.EXITED)

    asyncio.run(run())


def test_a_killed_toxiproxy_comes_back_with_its_links(runtime, tmp_path):
    async def run():
        async with await runtime.start(runtime.plan(contract.topology(), tmp_path)) as cluster:
            os.kill(cluster.pid("@toxiproxy"), signal.SIGKILL)
            await until(lambda: cluster.pid("@toxiproxy") is None)
            await cluster.network.restore("a->b")
            assert await contract.get(cluster, "a", "/links/peer") == "b"
            assert cluster.toxiproxy.restarts == 1

    asyncio.run(run())


async def until(condition, within=5.0):
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within
    while not condition():
        assert loop.time() < deadline, "the condition did not come true"
        await asyncio.sleep(0.01)
