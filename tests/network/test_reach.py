from __future__ import annotations

import asyncio
import time

import pytest

from harness.network.base import Direction
from harness.network.reach import Protocol, Reach, fastest, probe, protocol_of, throughput
from harness.runtime.base import Address
from tests.network.netlab import Server, claim_host, live, reset


class Speaker:
    """Waits for `question` bytes, then does `act` with the writer."""

    def __init__(self, question: int, act) -> None:
        self.question, self.act = question, act
        self.heard = b""

    async def __aenter__(self) -> Address:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return Address(*self.server.sockets[0].getsockname())

    async def __aexit__(self, *exc) -> None:
        self.server.close()

    async def _serve(self, reader, writer) -> None:
        try:
            self.heard = await reader.readexactly(self.question)
            await self.act(writer)
            await reader.read()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        writer.transport.abort()


def says(answer: bytes, after: float = 0.0):
    async def act(writer) -> None:
        await asyncio.sleep(after)
        writer.write(answer)
        await writer.drain()

    return act


@live
async def test_each_protocol_is_greeted_in_its_own_way():
    async with Server() as server:
        reach = await probe(server.address, Protocol.HTTP, 5)
        assert reach.answered
        assert server.requests == [("GET", "/health")]
    redis = Speaker(6, says(b"+PONG\r\n"))
    async with redis as address:
        assert (await probe(address, Protocol.REDIS, 5)).answered
    assert redis.heard == b"PING\r\n"
    postgres = Speaker(8, says(b"N"))
    async with postgres as address:
        assert (await probe(address, Protocol.POSTGRES, 5)).answered
    assert postgres.heard == bytes.fromhex("0000000804d2162f")


def test_roles_speak_http_unless_they_are_servers():
    spoken = [protocol_of(role) for role in ("postgres", "redis", "pop", "hub")]
    assert spoken == [Protocol.POSTGRES, Protocol.REDIS, Protocol.HTTP, Protocol.HTTP]


async def resets(writer) -> None:
    reset(writer)


async def closes(writer) -> None:
    writer.close()


async def stays(_writer) -> None:
    pass


@pytest.mark.parametrize(
    ("act", "error", "words"),
    [
        (resets, "reset", "connected, then reset"),
        (closes, "closed", "connected, then closed"),
        (stays, "timeout", "connected, no answer"),
    ],
)
@live
async def test_what_goes_wrong_after_connecting(act, error, words):
    async with Speaker(6, act) as address:
        reach = await probe(address, Protocol.REDIS, 0.3)
    assert (reach.connected, reach.answered, reach.rtt_ms, reach.error) == (
        True,
        False,
        -1.0,
        error,
    )
    assert str(reach) == words


@live
async def test_nobody_there():
    reach = await probe(Address(claim_host(), 9), Protocol.HTTP, 5)
    assert reach == Reach(connected=False, answered=False, error="refused")
    assert str(reach) == "refused"


@live
async def test_the_round_trip_is_measured_and_the_deadline_kept():
    async with Speaker(6, says(b"+", after=0.1)) as address:
        reach = await probe(address, Protocol.REDIS, 5)
        assert 100 <= reach.rtt_ms < 5000
        began = time.monotonic()
        assert (await probe(address, Protocol.REDIS, 0.02)).error == "timeout"
        assert time.monotonic() - began < 2
        assert (await fastest(address, Protocol.REDIS, 5, tries=2)).rtt_ms >= 100


@live
async def test_the_fastest_of_many_is_one_that_answered():
    turn = iter([stays, says(b"+"), stays])

    async def act(writer) -> None:
        await next(turn)(writer)

    async with Speaker(6, act) as address:
        assert (await fastest(address, Protocol.REDIS, 0.2)).answered


@live
async def test_throughput_counts_both_ways():
    class Padded(Server):
        async def reply(self, method, path, writer) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 20_000)
            await writer.drain()
            writer.close()

    async with Padded() as server:
        down = await throughput(server.address, Protocol.HTTP, Direction.DOWNSTREAM, 0.2, 1000)
        up = await throughput(server.address, Protocol.HTTP, Direction.UPSTREAM, 0.2, 1000)
    assert down > 2 * up > 0


@live
async def test_throughput_of_nothing():
    nobody = Address(claim_host(), 9)
    assert await throughput(nobody, Protocol.HTTP, Direction.UPSTREAM, 0.1, 10) == 0
    assert await throughput(nobody, Protocol.POSTGRES, Direction.UPSTREAM, 0.1, 10) is None
