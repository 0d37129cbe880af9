"""`squall up`, `status` and `down`: a cluster to play with. Each returns the exit code; faults are in fault_commands.py."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import signal
import time
from typing import TYPE_CHECKING, Any

from harness.errors import SquallError
from harness.probes import Site
from harness.runtime import persistent
from harness.runtime.session import prepare
from harness.scenario.observe import StatusWatch
from harness.target import Target, fill, fill_headers, fill_path
from harness.topology_yaml import load_topology, override
from harness.undos import condition

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncIterator, Coroutine, Iterable, Sequence

    from harness.history import Status
    from harness.runtime.base import Parts
    from harness.runtime.leased import LeasedCluster
    from harness.topology import Topology

OK = 0
STATUS_WITHIN = 0.5  # s for a node to tell of itself
SETTLE_WITHIN = 10.0  # s for all levels to be well after the start
_WELL = "HEALTHY"
_NOTHING_UP = "no cluster is up; `squall up TOPOLOGY` starts one"
_FLAG = '{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"on"}'
_USER = '{"targetingKey":"user-1"}'


def up(args: argparse.Namespace) -> int:
    """Nothing is left when it fails."""
    topology = override(load_topology(args.topology), args.set)
    name = args.name or topology.name
    persistent.check_free(name)
    parts = prepare(args.runtime, [topology], _say)
    return interruptible(_up(topology, name, args.runtime, parts))


def status(args: argparse.Namespace) -> int:
    names = [args.name] if args.name else persistent.list_clusters()
    if not names:
        print(_NOTHING_UP)
        return OK
    return interruptible(_status(names))


def down(args: argparse.Namespace) -> int:
    name = choose(args.name)
    interruptible(_down(name))
    print(f"{name} has ended; nothing of it is left")
    return OK


def interruptible(main: Coroutine[Any, Any, int]) -> int:
    """Run it. SIGINT and SIGTERM alike cancel it, so that it can undo what it began; then KeyboardInterrupt is raised."""

    async def guarded() -> int:
        task = asyncio.current_task()
        assert task is not None
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        return await main

    try:
        return asyncio.run(guarded())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


def choose(name: str | None) -> str:
    """The cluster that is meant; no name means the only one. Raises `SquallError` where that is not clear."""
    if name:
        return name
    names = persistent.list_clusters()
    if not names:
        raise SquallError(_NOTHING_UP)
    if len(names) > 1:
        raise SquallError(f"{len(names)} clusters are up, say which: {', '.join(names)}")
    return names[0]


@contextlib.asynccontextmanager
async def attached(name: str) -> AsyncIterator[LeasedCluster]:
    """A connection to it, ended at the end. Raises `SquallError` when there is none of that name."""
    cluster = await persistent.attach(name)
    try:
        yield cluster
    finally:
        await cluster.detach()


# -------------------------------------------------------------------------------------------------- up, down


async def _up(topology: Topology, name: str, runtime: str, parts: Parts) -> int:
    _say(f"starting {name}: {len(topology.nodes)} nodes, {len(topology.links)} links")
    began = time.monotonic()
    cluster = await persistent.up(topology, name, runtime=runtime, parts=parts)
    try:
        unsettled = await _settle(cluster)
        _say(f"ready in {time.monotonic() - began:.1f} s\n")
        rows = [
            (node.name, node.role, node.zone, str(cluster.plan.node[node.name]))
            for node in topology.nodes.values()
        ]
        print(_table(("node", "role", "zone", "address"), rows))
        print(_how_to(cluster, name))
        if unsettled:
            print(f"\nnot {_WELL} after {SETTLE_WITHIN:g} s: {unsettled}")
    finally:
        await cluster.detach()
    return OK


async def _settle(cluster: LeasedCluster) -> str:
    """Until the nodes that tell of a level have what they serve; else what was last seen of them."""
    watch = StatusWatch(_site(cluster))
    levelled = await watch.nodes_with_levels()
    return await watch.until(levelled, lambda said: said.level == _WELL, SETTLE_WITHIN)


def _site(cluster: LeasedCluster) -> Site:
    return Site(cluster.plan, Target(), lambda _event: None, 0)


def _how_to(cluster: LeasedCluster, name: str) -> str:
    """What to do with it, ready to be pasted."""
    plan, target, ends = cluster.plan, Target(), cluster.plan.topology.endpoints
    lines = []
    evaluate, write = ends.door("evaluate"), ends.door("write")
    if write:
        how = target.write
        url = plan.node[write].url + fill_path(how.path, org="default", key="my-flag")
        lines.append(("write", _curl(how.method, url, how.headers, _FLAG)))
    if evaluate:
        asked = target.evaluate
        url = plan.node[evaluate].url + fill_path(asked.path, key="my-flag")
        headers = fill_headers(asked.headers, org="default")
        body = fill(asked.body, context=_USER)
        lines.append(("evaluate", _curl(asked.method, url, headers, body)))
        lines += [
            (f"as {group}", f"the same, with --interface {host}")
            for group, host in plan.client.items()
        ]
    doors = {evaluate, write, ends.alerts}
    nodes = list(plan.topology.nodes.values())
    inner = [node.name for node in nodes if not node.is_server and node.name not in doors]
    node = (inner or [each.name for each in nodes])[-1]
    lines += [
        ("logs", cluster.logs),
        ("look", f"squall status {name}"),
        ("break", f"squall fault list; squall fault crash {node}; squall heal"),
        ("end", f"squall down {name}"),
    ]
    width = max(len(what) for what, _ in lines)
    return "\n" + "\n".join(f"{what:<{width}}  {how}" for what, how in lines)


def _curl(method: str, url: str, headers: dict[str, str], body: str) -> str:
    words = ["curl", "-s", "-X", method, url]
    for key, value in headers.items():
        words += ["-H", f"{key}: {value}"]
    return shlex.join([*words, "-d", body])


async def _down(name: str) -> int:
    await persistent.down(name)
    return OK


# ---------------------------------------------------------------------------------------------------- status


async def _status(names: Sequence[str]) -> int:
    for number, name in enumerate(names):
        async with attached(name) as cluster:
            if number:
                print()
            await _show(cluster, name)
    return OK


async def _show(cluster: LeasedCluster, name: str) -> None:
    topology = cluster.plan.topology
    site = _site(cluster)
    programs = [node.name for node in topology.nodes.values() if not node.is_server]
    answers = await asyncio.gather(*(site.status(node, STATUS_WITHIN) for node in programs))
    said = dict(zip(programs, answers, strict=True))
    rows = [
        (
            node.name,
            node.role,
            str(cluster.state(node.name)),
            str(cluster.plan.node[node.name]),
            *_told(said.get(node.name), node.role),
        )
        for node in topology.nodes.values()
    ]
    print(f"{name} ({topology.path}): {len(rows)} nodes")
    print(_table(("node", "role", "state", "address", "level", "position", "upstream"), rows))
    entries = await cluster.outstanding()
    if not entries:
        print("no fault is in force")
    for entry in entries:
        print(f"in force: {await condition(cluster, entry.undo)}")


def _told(answer: Status | None, role: str) -> tuple[str, str, str]:
    """Level, position, upstream as the node says; what kind of failure where it says nothing."""
    if answer is None:
        return "-", "-", "-"
    if not answer.ok:
        return f"({answer.error.lower()})", "-", "-"
    if answer.role not in ("", role):  # a balancer, which passes the question on
        return "-", "-", "-"
    position = str(answer.version) if answer.version >= 0 else "-"
    return answer.level or "-", position, answer.upstream or "-"


# ---------------------------------------------------------------------------------------------------- private


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    cells = [head, *rows]
    widths = [max(len(row[n]) for row in cells) for n in range(len(head))]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    )
    return "\n".join(lines)


def _say(line: str) -> None:
    print(line, flush=True)
