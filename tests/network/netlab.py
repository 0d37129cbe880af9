"""What the network and fault tests share: addresses of their own, a real toxiproxy daemon, small HTTP servers."""

from __future__ import annotations

import asyncio
import functools
import os
import random
import signal
import socket
import struct
import subprocess
import time
from pathlib import Path
from typing import Self

from harness.network.obtain import find_toxiproxy
from harness.network.toxiproxy import Toxiproxy
from harness.runtime.base import Address

CLAIM_PORT = 8400
_claims: list[socket.socket] = []


def claim_host() -> str:
    """A loopback address that no other test uses; held by a socket that is bound to it for the process's life."""
    for _ in range(200):
        host = f"127.{random.randint(200, 249)}.{random.randint(0, 255)}.{random.randint(1, 254)}"
        claim = socket.socket()
        try:
            claim.bind((host, CLAIM_PORT))
        except OSError:
            claim.close()
            continue
        _claims.append(claim)
        return host
    raise AssertionError("no loopback address is left")


def live(test):
    """Run an async test in a loop of its own, 20 s at most."""

    @functools.wraps(test)
    def run(*args, **kwargs):
        asyncio.run(asyncio.wait_for(test(*args, **kwargs), 20))

    return run


async def eventually(look, within: float = 5.0):
    """Wait until `look()` is true and return it; fail with what it gave last."""
    deadline = time.monotonic() + within
    while True:
        seen = look()
        if asyncio.iscoroutine(seen):
            seen = await seen
        if seen:
            return seen
        assert time.monotonic() < deadline, f"last seen: {seen!r}"
        await asyncio.sleep(0.01)


class Daemon:
    """A toxiproxy daemon as a child process, on an address of its own."""

    def __init__(self) -> None:
        self.address = Address(claim_host(), 8474)
        self.process: subprocess.Popen | None = None
        self.starts = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc) -> None:
        self.kill()

    def start(self) -> None:
        self.starts += 1
        self.process = subprocess.Popen(
            [str(find_toxiproxy()), "-host", self.address.host, "-port", str(self.address.port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"LOG_LEVEL": "fatal"},
        )

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)

    def freeze(self) -> None:
        """All its threads: where cores are short, some run on for a moment after the signal was sent."""
        self.process.send_signal(signal.SIGSTOP)
        tasks = Path(f"/proc/{self.process.pid}/task")
        deadline = time.monotonic() + 5
        while any(
            (task / "stat").read_text().rpartition(")")[2].split()[0] != "T"
            for task in tasks.iterdir()
        ):
            assert time.monotonic() < deadline, "the daemon was not stopped"
            time.sleep(0.001)

    async def restart(self) -> None:
        self.kill()
        self.start()

    async def control(self, within: float = 3.0, restart: bool = True) -> Toxiproxy:
        control = Toxiproxy(self.address, self.restart if restart else None, within)
        await control.ready()
        return control


class Server:
    """A small HTTP/1.1 server: `GET /health` and whatever else is in `routes` (path -> whole answer)."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str]] = []
        self.bodies: list[bytes] = []
        self.routes: dict[str, bytes] = {"/health": answer(b"ok")}
        self.peers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Self:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        host, port = self.server.sockets[0].getsockname()
        self.address = Address(host, port)
        return self

    async def __aexit__(self, *exc) -> None:
        self.server.close()
        for peer in self.peers:
            peer.transport.abort()
        await asyncio.sleep(0)

    async def _serve(self, reader, writer) -> None:
        self.peers.append(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                method, path, _ = head.split(b"\r\n")[0].decode().split(" ")
                length = 0
                for line in head.lower().split(b"\r\n"):
                    if line.startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                self.bodies.append(await reader.readexactly(length))
                self.requests.append((method, path))
                await self.reply(method, path, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def reply(self, method, path, writer) -> None:
        writer.write(self.routes.get(path.split("?")[0], answer(b"no such path", 404)))
        await writer.drain()


def answer(body: bytes, status: int = 200, kind: str = "text/plain") -> bytes:
    head = f"HTTP/1.1 {status} x\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
