"""What every runtime must do. Call any of these on an implementation of your own, with a cluster that `topology` describes.

Nodes "a" and "b" run a program that answers /health; a's link "peer" goes to b, and a answers `/links/peer` with what b's
/health said. The client group "users" may send from its own source address.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from pathlib import Path

import pytest

from harness.errors import RuntimeFailure
from harness.network.base import Direction, Toxic
from harness.runtime.base import NodeState
from harness.topology import ClientGroup, Endpoints, Link, Node, Topology
from tests.runtime.toy import fetch


def topology(program: str = "tests.runtime.toy", *servers: str, **settings: dict) -> Topology:
    """Nodes a and b of the program, and the servers ("postgres", "redis") asked for, each named as its role."""
    nodes = [Node(name, "toy", "z1", "r1", settings.get(name, {})) for name in ("a", "b")]
    nodes += [Node(role, role, "z1", "r1") for role in servers]
    return Topology(
        name="contract",
        program=program,
        regions={"r1": ("z1",)},
        nodes={node.name: node for node in nodes},
        links={"a->b": Link("a->b", "a", "b", "peer")},
        clients={"users": ClientGroup("users", "r1")},
        endpoints=Endpoints(evaluate="a"),
    )


async def get(cluster, node: str, path: str) -> str:
    address = cluster.plan.node[node]
    async with asyncio.timeout(8):
        return await fetch(address.host, address.port, path)


async def answers(cluster, node: str, within: float) -> bool:
    address = cluster.plan.node[node]
    try:
        async with asyncio.timeout(within):
            await fetch(address.host, address.port, "/health")
    except (OSError, EOFError):
        return False
    return True


async def check_starts_ready(cluster) -> None:
    for node in cluster.plan.topology.nodes:
        assert cluster.state(node) is NodeState.RUNNING
        await cluster.ready(node, within=5)


async def check_kill_and_start(cluster) -> None:
    await cluster.kill("b")
    assert cluster.state("b") is NodeState.EXITED
    assert not await answers(cluster, "b", 5)
    assert await answers(cluster, "a", 5)
    await cluster.kill("b")  # idempotent
    await cluster.start("b")
    assert cluster.state("b") is NodeState.RUNNING
    assert await answers(cluster, "b", 5)


async def check_stop_and_start(cluster) -> None:
    await cluster.stop("b")
    assert cluster.state("b") is NodeState.EXITED
    await cluster.stop("b")  # idempotent
    await cluster.start("b")
    await cluster.start("b")  # idempotent
    assert await answers(cluster, "b", 5)


async def check_pause_and_resume(cluster) -> None:
    """A paused node accepts connections, and never answers; after `resume` it answers what it was asked meanwhile."""
    await cluster.pause("b")
    assert cluster.state("b") is NodeState.PAUSED
    await cluster.pause("b")  # idempotent
    address = cluster.plan.node["b"]
    reader, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(b"GET /health HTTP/1.1\r\n\r\n")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await reader.readline()
    with pytest.raises(RuntimeFailure, match="paused"):
        await cluster.start("b")
    await cluster.resume("b")
    assert cluster.state("b") is NodeState.RUNNING
    async with asyncio.timeout(5):
        assert b"200" in await reader.readline()
    writer.close()
    await cluster.resume("b")  # idempotent


async def check_kill_while_paused(cluster) -> None:
    await cluster.pause("b")
    await cluster.kill("b")
    assert cluster.state("b") is NodeState.EXITED
    with pytest.raises(RuntimeFailure, match="exited"):
        await cluster.pause("b")
    await cluster.resume("b")  # nothing to resume; safe as an undo
    await cluster.start("b")


async def check_stop_while_paused(cluster) -> None:
    await cluster.pause("b")
    await cluster.stop("b")
    assert cluster.state("b") is NodeState.EXITED
    await cluster.start("b")


async def check_links(cluster) -> None:
    """A link carries traffic, can be cut and slowed alone, and is restored."""
    assert await get(cluster, "a", "/links/peer") == "b"
    await cluster.network.cut("a->b")
    with pytest.raises(EOFError, match="502"):
        await get(cluster, "a", "/links/peer")
    assert await answers(cluster, "b", 5)  # b itself is well
    await cluster.network.restore("a->b")
    assert await get(cluster, "a", "/links/peer") == "b"
    slow = Toxic("slow", "latency", Direction.DOWNSTREAM, {"latency": 300, "jitter": 0})
    await cluster.network.add("a->b", slow)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    assert await get(cluster, "a", "/links/peer") == "b"
    assert loop.time() - begun >= 0.3
    await cluster.network.remove("a->b", "slow")
    assert (await cluster.network.state("a->b")).toxics == ()


async def check_client_addresses(cluster) -> None:
    """A client group's source address can be used to reach a node."""
    address = cluster.plan.node["a"]
    source = cluster.plan.client["users"]
    _, writer = await asyncio.open_connection(address.host, address.port, local_addr=(source, 0))
    assert writer.get_extra_info("sockname")[0] == source
    writer.close()


async def check_processes(cluster) -> None:
    """A node's processes are seen with their memory, and one can be ended while the others stay."""
    before = await cluster.processes("b")
    await get(cluster, "b", "/child")
    more = await cluster.processes("b")
    (child,) = [process for process in more if process not in _same(before, more)]
    assert len(more) == len(before) + 1
    assert all(process.name and process.memory for process in more), more
    for _ in range(2):  # idempotent
        await cluster.end_process("b", child)
    assert child.pid not in {process.pid for process in await cluster.processes("b")}
    assert await answers(cluster, "b", 5)
    await cluster.kill("b")
    assert await cluster.processes("b") == ()
    await cluster.start("b")
    with pytest.raises(RuntimeFailure, match="'nobody'"):
        await cluster.processes("nobody")


def _same(before, more):
    """Memory differs from look to look."""
    known = {(process.pid, process.start) for process in before}
    return [process for process in more if (process.pid, process.start) in known]


async def check_repr(cluster) -> None:
    await cluster.kill("b")
    assert "exited: b" in repr(cluster)
    assert "running: a" in repr(cluster)
    await cluster.start("b")
    assert "exited" not in repr(cluster)


async def check_unknown_node(cluster) -> None:
    for act in (cluster.kill, cluster.stop, cluster.pause, cluster.resume, cluster.ready):
        with pytest.raises(RuntimeFailure, match="'nobody'"):
            await act("nobody")


async def check_close(cluster) -> None:
    """After `close`, which may be called twice, nobody has any of its addresses: they are free again, or are no more."""
    await cluster.close()
    await cluster.close()
    for address in [
        *cluster.plan.node.values(),
        *cluster.plan.link.values(),
        cluster.plan.toxiproxy,
    ]:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address.host, address.port))
            except OSError as error:
                if error.errno != errno.EADDRNOTAVAIL:
                    raise


CHECKS = (
    check_starts_ready,
    check_kill_and_start,
    check_stop_and_start,
    check_pause_and_resume,
    check_kill_while_paused,
    check_stop_while_paused,
    check_links,
    check_client_addresses,
    check_processes,
    check_repr,
    check_unknown_node,
    check_close,  # the last: it ends the cluster
)


async def check_all(runtime, state_dir: Path, program: str = "tests.runtime.toy") -> None:
    """Every check on one cluster, in order; each leaves it as it found it."""
    cluster = await runtime.start(runtime.plan(topology(program), state_dir))
    try:
        for check in CHECKS:
            await check(cluster)
    finally:
        await cluster.close()
