"""Evaluations per second of one PoP worker on one core, against a bare uvloop + httptools loop.

Both servers run pinned to one core, the load generator to another. Rounds alternate between the two in one run, so
that what else the machine does hits both; each pair of rounds gives one ratio. The bare loop parses requests with
httptools and answers the PoP's bytes: what the protocol alone costs in Python. The PoP is measured twice: with clients
whose request heads repeat, as those of an SDK that keeps its connections, and with a head that is new in every request
(a trace id), which the PoP must parse. CPU time per answer is given as well, as it depends less on who else uses the
machine.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import random
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import httptools
import psutil
import uvloop

from reference_impl.config import Listen, NodeConfig
from reference_impl.pop.http import bind
from reference_impl.pop.levels import Level
from reference_impl.pop.role import Pop
from reference_impl.propagation.types import FlagState, OrgState, Snapshot
from reference_impl.role import Env

HOST = "127.0.0.1"
RULE = {"if": [{"==": [{"var": "tier"}, "gold"]}, "on", "off"]}
DEFINITION: dict[str, object] = {
    "state": "ENABLED",
    "variants": {"on": True, "off": False},
    "defaultVariant": "off",
    "targeting": RULE,
}
BODY = b'{"context":{"targetingKey":"user-4711","tier":"gold","country":"NL"}}'
REQUEST = (
    b"POST /ofrep/v1/evaluate/flags/dark-mode HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    b"X-Org-Id: acme\r\nX-Trace-Id: %b\r\nContent-Length: %d\r\n\r\n%b"
)
TRACES = {
    "repeated": b"00000000",
    "new": b"########",
}  # the load generator makes numbers of the latter
# What one round measures: server, and heads of the requests.
CASES = (("bare", "repeated"), ("pop", "repeated"), ("pop", "new"))


def make_pop() -> Pop:
    """A PoP with one flag in memory, HEALTHY, and without links: nothing else goes on."""
    config = NodeConfig(name="pop-1", role="pop", listen=Listen(HOST, 0))
    pop = Pop(config, Env(random.Random(1), time.time_ns, "benchmark"))
    flags = {"dark-mode": FlagState(41, DEFINITION)}
    pop.store.replace(Snapshot(42, {"acme": OrgState(3, flags)}))
    pop.degradation.stream_up()
    if pop.level is not Level.HEALTHY:
        raise RuntimeError(f"{pop!r} is not healthy")
    return pop


class BareProtocol(asyncio.Protocol):
    """Parses requests, looks at nothing, answers fixed bytes."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._parser = httptools.HttpRequestParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._write = transport.write  # type: ignore[attr-defined]  # of a TCP transport

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        self._write(self._answer)


async def start_pop() -> int:
    pop = make_pop()
    await pop.start()
    return pop.server.port


async def start_bare() -> int:
    headers = {b"x-org-id": b"acme"}
    route = make_pop().server.handler.route
    answer = route(b"POST", b"/ofrep/v1/evaluate/flags/dark-mode", headers)(BODY)
    assert isinstance(answer, bytes)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: BareProtocol(answer), sock=bind(HOST, 0))
    port: int = server.sockets[0].getsockname()[1]
    return port


def serve(kind: str, core: int, ready: Connection) -> None:
    """A server process: tell the port, then serve until the other end of the pipe is closed."""
    os.sched_setaffinity(0, {core})

    async def run() -> None:
        ready.send(await (start_pop() if kind == "pop" else start_bare()))
        closed = asyncio.Event()
        asyncio.get_running_loop().add_reader(ready.fileno(), closed.set)
        await closed.wait()

    uvloop.run(run())


@dataclass(frozen=True)
class Round:
    """One measurement of one server."""

    rate: float  # answers per second
    cpu: float  # microseconds of the server's CPU time per answer


class Server:
    """One pinned server process."""

    def __init__(self, kind: str, core: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(kind, core, theirs), daemon=True)
        self._process.start()
        theirs.close()
        if not self._pipe.poll(30):
            raise RuntimeError(f"the {kind} server was not ready after 30 s")
        self.port: int = self._pipe.recv()
        self._stat = psutil.Process(self._process.pid)

    def measure(self, load: Load, heads: str, seconds: float) -> Round:
        before = self._stat.cpu_times()
        answers, took = load(self.port, heads, seconds)
        after = self._stat.cpu_times()
        used = after.user - before.user + after.system - before.system
        return Round(answers / took, used / answers * 1e6)

    def stop(self) -> None:
        self._pipe.close()
        self._process.join(5)
        if self._process.is_alive():
            self._process.kill()


Load = Callable[[int, str, float], tuple[float, float]]  # port, heads, seconds -> answers, seconds


def c_load(folder: Path, core: int, connections: int) -> Load:
    """The load generator beside this file, compiled."""
    program = folder / "loadgen"
    source = Path(__file__).with_name("loadgen.c")
    subprocess.run(["cc", "-O2", "-o", program, source], check=True, timeout=60)
    for heads, trace in TRACES.items():
        (folder / heads).write_bytes(REQUEST % (trace, len(BODY), BODY))

    def run(port: int, heads: str, seconds: float) -> tuple[float, float]:
        numbers = [str(port), str(connections), str(seconds)]
        command: list[str | Path] = [program, HOST, *numbers, folder / heads]
        output = subprocess.run(
            ["taskset", "-c", str(core), *command],
            check=True,
            capture_output=True,
            timeout=seconds + 30,
        )
        answers, took = output.stdout.split()
        return float(answers), float(took)

    return run


def wrk_load(folder: Path, core: int, connections: int) -> Load:
    """wrk, told to send the same requests."""
    for heads, trace in TRACES.items():
        (folder / heads).write_text(
            "wrk.method='POST'; wrk.path='/ofrep/v1/evaluate/flags/dark-mode'\n"
            f"wrk.body='{BODY.decode()}'\nwrk.headers['Content-Type']='application/json'\n"
            "wrk.headers['X-Org-Id']='acme'; wrk.headers['X-Trace-Id']='00000000'\n"
            "done=function(s) print('RESULT', s.requests, s.duration/1e6) end\n"
        )
        if trace == TRACES["new"]:
            with (folder / heads).open("a") as lua:
                lua.write(
                    "n=0; request=function() n=n+1; wrk.headers['X-Trace-Id']=string.format('%08x',n);"
                    " return wrk.format() end\n"
                )

    def run(port: int, heads: str, seconds: float) -> tuple[float, float]:
        duration = f"{max(1, round(seconds))}s"
        url = f"http://{HOST}:{port}"
        command: list[str | Path] = [
            "wrk",
            "-t1",
            f"-c{connections}",
            f"-d{duration}",
            "-s",
            folder / heads,
            url,
        ]
        output = subprocess.run(
            ["taskset", "-c", str(core), *command],
            check=True,
            capture_output=True,
            text=True,
            timeout=seconds + 30,
        )
        line = next(line for line in output.stdout.splitlines() if line.startswith("RESULT"))
        _, answers, took = line.split()
        return float(answers), float(took)

    return run


def spread(values: list[float]) -> str:
    return (
        f"min {min(values):9.2f}  median {statistics.median(values):9.2f}  max {max(values):9.2f}"
    )


def report(measured: dict[tuple[str, str], list[Round]]) -> None:
    for (kind, heads), rounds in measured.items():
        print(f"{kind}, {heads} heads")
        print(f"  answers/s          {spread([each.rate for each in rounds])}")
        print(f"  CPU us per answer  {spread([each.cpu for each in rounds])}")
    bare = measured["bare", "repeated"]
    for heads in TRACES:
        pairs = list(zip(measured["pop", heads], bare, strict=True))
        print(f"ratio pop to bare, {heads} heads")
        print(f"  by answers/s       {spread([ours.rate / base.rate for ours, base in pairs])}")
        print(f"  by CPU time        {spread([base.cpu / ours.cpu for ours, base in pairs])}")


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks evaluation", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0, help="of one round")
    parser.add_argument("--connections", type=int, default=32)
    options = parser.parse_args(argv)
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2 or not shutil.which("taskset"):
        print("needs two cores and taskset")
        return 2
    if not shutil.which("wrk") and not shutil.which("cc"):
        print(
            "needs wrk or a C compiler: a load generator in Python would be slower than the server"
        )
        return 2
    make_load = wrk_load if shutil.which("wrk") else c_load
    servers = {kind: Server(kind, cores[0]) for kind in ("bare", "pop")}
    measured: dict[tuple[str, str], list[Round]] = {case: [] for case in CASES}
    try:
        with tempfile.TemporaryDirectory() as folder:
            load = make_load(Path(folder), cores[1], options.connections)
            for server in servers.values():
                server.measure(load, "repeated", 0.5)  # warm up
            for _ in range(options.rounds):
                for kind, heads in CASES:
                    found = servers[kind].measure(load, heads, options.seconds)
                    measured[kind, heads].append(found)
    finally:
        for server in servers.values():
            server.stop()
    report(measured)
    return 0
