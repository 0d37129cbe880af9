"""Queries over UDP and TCP, on the same port (RFC 7766)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final, cast

# The answer to a query from a source address, or None; `udp` says how it came.
Answer = Callable[[bytes, str, bool], bytes | None]
IDLE: Final = 10.0  # s after which a TCP connection without a query is closed
PREFIX: Final = 2  # bytes of a message's length


class DnsServer:
    """Listens at one address. `answer` must not block."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._udp: asyncio.DatagramTransport | None = None
        self._tcp: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    def __repr__(self) -> str:
        state = f"port {self.port}" if self._tcp else "closed"
        return f"<DnsServer {state} connections={len(self._open)}>"

    @property
    def port(self) -> int:
        """Of UDP and TCP. Raises `RuntimeError` before `start`."""
        if self._tcp is None:
            raise RuntimeError("not started")
        return int(self._tcp.sockets[0].getsockname()[1])

    async def start(self, host: str, port: int) -> None:
        """Raises `OSError` where the port is taken."""
        self._tcp = await asyncio.start_server(self._serve, host, port)
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: _Datagrams(self._answer), local_addr=(host, self.port)
        )
        self._udp = transport

    async def stop(self) -> None:
        """Idempotent."""
        if self._udp is not None:
            self._udp.close()
            self._udp = None
        if self._tcp is not None:
            self._tcp.close()
            for writer in list(self._open):
                writer.transport.abort()
            self._tcp = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        source = str(writer.get_extra_info("peername")[0])
        try:
            with contextlib.suppress(TimeoutError, OSError, asyncio.IncompleteReadError):
                while True:
                    async with asyncio.timeout(IDLE):
                        query = await reader.readexactly(
                            int.from_bytes(await reader.readexactly(PREFIX))
                        )
                        if (reply := self._answer(query, source, False)) is None:
                            return
                        writer.write(len(reply).to_bytes(PREFIX) + reply)
                        await writer.drain()
        finally:
            self._open.discard(writer)
            writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if self._transport is not None and (reply := self._answer(data, addr[0], True)) is not None:
            self._transport.sendto(reply, addr)

    def error_received(self, exc: Exception) -> None:
        """A client that is gone already: UDP has nobody to tell."""
