"""A small real cluster for the fault tests: subprocesses as nodes, a real toxiproxy between them."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from harness.network.toxiproxy import Toxiproxy
from harness.runtime import procfs
from harness.runtime.base import Address, NodeState, Plan
from harness.topology import Endpoints, Link, Node, Topology
from tests.network.netlab import claim_host

TINY = Path(__file__).with_name("tiny_node.py")
CREW = Path(__file__).with_name("crew_node.py")


CREWS = {"crew": ("again",), "loose-crew": ("never",)}  # nodes of several processes


def topology() -> Topology:
    nodes = [
        Node("pop-us", "pop", "us-a", "us"),
        Node("kv-us", "redis", "us-a", "us"),
        Node("hub-us", "hub", "us-b", "us"),
        Node("api-us", "api", "us-b", "us"),
        Node("db-us", "postgres", "us-b", "us"),
        Node("pop-eu", "pop", "eu-a", "eu"),
        Node("alone", "cron", "eu-a", "eu"),
        Node("db-us-2", "postgres", "us-b", "us"),
        Node("dns-us", "dns", "eu-b", "eu"),
        Node("dns-eu", "dns", "eu-b", "eu"),
        Node("store-eu", "objects", "eu-b", "eu"),
        Node("crew", "pop", "eu-a", "eu"),
        Node("loose-crew", "pop", "eu-a", "eu"),
    ]
    ends = [
        ("pop-us", "hub-us", "stream"),
        ("pop-us", "kv-us", "kv"),
        ("pop-eu", "hub-us", "stream"),
        ("hub-us", "api-us", "origin"),
        ("api-us", "db-us", "db"),
        ("dns-eu", "store-eu", "store"),
        ("db-us-2", "db-us", "db"),
    ]
    links = [Link(f"{source}->{to}", source, to, use) for source, to, use in ends]
    return Topology(
        name="tiny",
        program="none",
        regions={"us": ("us-a", "us-b"), "eu": ("eu-a", "eu-b")},
        nodes={node.name: node for node in nodes},
        links={link.id: link for link in links},
        clients={},
        endpoints=Endpoints(),
    )


class FakeCluster:
    """`harness.runtime.base.Cluster` over tiny processes; `network` is set anew for each test by `wire`."""

    has_files = True

    def __init__(self) -> None:
        shape = topology()
        where = {name: Address(claim_host(), node.port) for name, node in shape.nodes.items()}
        self.plan = Plan(shape, Path("/nowhere"), where, {}, {}, {}, Address("127.0.0.1", 1))
        self.running: dict[str, subprocess.Popen] = {}
        for name in where:
            self._spawn(name)

    def __repr__(self) -> str:
        return f"FakeCluster({ {name: str(self.state(name)) for name in self.running} })"

    def _spawn(self, name: str) -> None:
        where = self.plan.node[name]
        program = [str(TINY)] if name not in CREWS else [str(CREW)]
        self.running[name] = subprocess.Popen(
            [
                *(sys.executable, "-S", "-E", *program, where.host, str(where.port)),
                *CREWS.get(name, ()),
            ],
            start_new_session=True,
        )

    async def wire(self, daemon) -> None:
        self.network = Toxiproxy(daemon.address)
        await self.network.ready()
        door = claim_host()
        for n, link in enumerate(self.plan.topology.links.values()):
            self.plan.link[link.id] = Address(door, 20000 + n)
        await self.network.create(
            {
                link.id: (self.plan.link[link.id], self.plan.node[link.to])
                for link in self.plan.topology.links.values()
            }
        )
        for name in self.running:
            await self.ready(name)

    async def unwire(self) -> None:
        """Everything as it was, whatever the test left behind."""
        for link in self.plan.topology.links:
            await self.network.cut(link)
        for name in self.running:
            if self.state(name) is NodeState.PAUSED:
                await self.resume(name)
            elif self.state(name) is NodeState.EXITED:
                await self.start(name)

    async def kill(self, node: str) -> None:
        await self._end(node, signal.SIGKILL)

    async def stop(self, node: str) -> None:
        await self._end(node, signal.SIGTERM)

    async def _end(self, node: str, sign: signal.Signals) -> None:
        process = self.running[node]
        if process.poll() is None:
            os.killpg(process.pid, sign)
            await asyncio.to_thread(process.wait, 10)

    async def pause(self, node: str) -> None:
        os.killpg(self.running[node].pid, signal.SIGSTOP)
        await self._until(node, NodeState.PAUSED)

    async def resume(self, node: str) -> None:
        os.killpg(self.running[node].pid, signal.SIGCONT)
        await self._until(node, NodeState.RUNNING)

    async def _until(self, node: str, state: NodeState) -> None:
        deadline = time.monotonic() + 5
        while self.state(node) is not state:
            assert time.monotonic() < deadline, f"{node} is {self.state(node)}"
            await asyncio.sleep(0.002)

    async def start(self, node: str) -> None:
        self._spawn(node)
        await self.ready(node)

    def state(self, node: str) -> NodeState:
        process = self.running[node]
        if process.poll() is not None:
            return NodeState.EXITED
        letter = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]
        return NodeState.PAUSED if letter in "Tt" else NodeState.RUNNING

    async def ready(self, node: str, within: float = 10.0) -> None:
        deadline = time.monotonic() + within
        where = self.plan.node[node]
        while True:
            with socket.socket() as sock:
                if sock.connect_ex((where.host, where.port)) == 0:
                    return
            assert time.monotonic() < deadline, f"{node} never listened"
            await asyncio.sleep(0.01)

    def folder(self, node: str) -> Path:
        return Path("/nowhere") / node

    async def processes(self, node: str):
        return procfs.members(each.pid for each in procfs.tree(self.running[node].pid))

    async def end_process(self, node: str, process) -> None:
        if procfs.alive(process.pid, process.start):
            os.kill(process.pid, signal.SIGKILL)

    async def close(self) -> None:
        for process in self.running.values():
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


async def whole_life(fault, cluster) -> None:
    """Inject, verify, heal, verify, each act twice: what every fault must stand. Before, it must show as healed."""
    fault.check(cluster)
    assert fault.targets(cluster)
    assert fault.undo(cluster)
    before = await fault.verify_healed(cluster)
    assert before.bit, before.seen
    for _ in range(2):
        await fault.inject(cluster)
    proof = await fault.verify(cluster)
    assert proof.bit, proof.seen
    assert proof.seen
    for _ in range(2):
        await fault.heal(cluster)
    healed = await fault.verify_healed(cluster)
    assert healed.bit, healed.seen


async def does_not_bite(fault, cluster, monkeypatch):
    """With an inject that does nothing, verify must say so; with a heal that does nothing, verify_healed must."""
    from faults import _common

    monkeypatch.setattr(_common, "VERIFY_WITHIN", 0.0)
    monkeypatch.setattr(_common, "HEAL_WITHIN", 0.0)
    proof = await fault.verify(cluster)  # nothing was injected
    assert not proof.bit, proof.seen
    assert proof.seen
    await fault.inject(cluster)
    healed = await fault.verify_healed(cluster)  # nothing was healed
    assert not healed.bit, healed.seen
    assert healed.seen
    await fault.heal(cluster)
