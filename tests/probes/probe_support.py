"""A server that misbehaves as told, and a site to point probes at it."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from harness.history import Event
from harness.probes.site import Site
from harness.runtime.base import Address, Plan
from harness.target import Target
from harness.topology import ClientGroup, Endpoints, Node, Topology
from harness.units import now_ns

GROUP_SOURCE = "127.9.8.7"


class Act(Enum):
    HANG = "never answer"
    RESET = "answer by RST"
    CLOSE = "close without an answer"


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int
    peer: str
    writer: asyncio.StreamWriter


Answer = bytes | Act | None
Handler = Callable[[Request], Answer | Awaitable[Answer]]


def reply(body: object = None, status: int = 200, headers: str = "") -> bytes:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return f"HTTP/1.1 {status} X\r\n{headers}Content-Length: {len(raw)}\r\n\r\n".encode() + raw


@dataclass
class Server:
    """Answers each request as `handler` says; None: the handler has written to the connection itself."""

    handler: Handler
    port: int = 0
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        self.writers.add(writer)
        try:
            while await self._exchange(reader, writer, number):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self.writers.discard(writer)
            writer.close()

    async def _exchange(self, reader, writer, number) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = head[0].split(" ")
        headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in head[1:] if line)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        peer = writer.get_extra_info("peername")[0]
        request = Request(method, path, headers, body, number, peer, writer)
        self.requests.append(request)
        answer = self.handler(request)
        if not isinstance(answer, bytes | Act | None):
            answer = await answer
        if answer is Act.HANG:
            await reader.read()
            return False
        if answer is Act.RESET:
            reset(writer)
            return False
        if answer is Act.CLOSE:
            return False
        if answer is not None:
            writer.write(answer)
            await writer.drain()
        return answer is not None


def reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@asynccontextmanager
async def serving(handler: Handler):
    server = Server(handler)
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for writer in list(server.writers):
            writer.transport.abort()
        await until(lambda: not server.writers, lambda: f"{len(server.writers)} connections open")


class refusing:  # noqa: N801 - used like the function `serving`
    """An address that is ours and refuses: bound, and nobody listens."""

    def __enter__(self) -> int:
        self.sock = socket.socket()
        self.sock.bind(("127.0.0.1", 0))
        return self.sock.getsockname()[1]

    def __exit__(self, *_: object) -> None:
        self.sock.close()


async def until(met: Callable[[], bool], seen: Callable[[], object], within: float = 8.0) -> None:
    deadline = now_ns() + round(within * 1e9)
    while not met():
        assert now_ns() < deadline, f"not met after {within} s; last seen: {seen()}"
        await asyncio.sleep(0.002)


@dataclass
class Log:
    """A history in memory."""

    events: list[Event] = field(default_factory=list)

    def of(self, cls, **fields):
        return [
            event
            for event in self.events
            if isinstance(event, cls) and all(getattr(event, k) == v for k, v in fields.items())
        ]


def site_for(port: int, *, target: Target | None = None, **extra_ports: int) -> tuple[Site, Log]:
    """A platform whose one node "app" does everything; more nodes by name and port."""
    ports = {"app": port, **extra_ports}
    nodes = {name: Node(name, "pop", "z1", "r1") for name in ports}
    nodes["db"] = Node("db", "postgres", "z1", "r1")
    topology = Topology(
        name="test",
        program="none",
        regions={"r1": ("z1",)},
        nodes=nodes,
        links={},
        clients={"europe": ClientGroup("europe", "r1")},
        endpoints=Endpoints(evaluate="app", write="app", alerts="app"),
    )
    plan = Plan(
        topology=topology,
        state_dir=Path("/nonexistent"),
        node={name: Address("127.0.0.1", number) for name, number in ports.items()},
        link={},
        tap={},
        client={"europe": GROUP_SOURCE},
        toxiproxy=Address("127.0.0.1", 1),
    )
    log = Log()
    return Site(plan, target or Target(), log.events.append, now_ns()), log


class running:  # noqa: N801 - used like a function
    """Runs a probe while the block runs, then stops it and waits for its end."""

    def __init__(self, probe, site: Site) -> None:
        self.probe, self.site, self.stop = probe, site, asyncio.Event()

    async def __aenter__(self):
        self.task = asyncio.create_task(self.probe.run(self.site, self.stop))
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.stop.set()
        async with asyncio.timeout(10):
            await self.task
