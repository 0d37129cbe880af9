from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Self

import pytest

from harness.history import Note, Wire
from harness.network.script import Answer, Kind, Rule, Script
from harness.network.toxiproxy import CARRY_RESETS
from harness.network.wiretap import Wiretap
from harness.runtime.base import Address
from tests.network.netlab import Server, answer, claim_host, eventually, live, reset


@contextlib.asynccontextmanager
async def tapped(server: Server | Address, script: Script | None = None):
    events: list = []
    upstream = server if isinstance(server, Address) else server.address
    tap = Wiretap(
        "pop->hub",
        Address("127.0.0.1", 0),
        upstream,
        events.append,
        time.monotonic_ns(),
        script=script,
    )
    await tap.start()
    try:
        yield tap, events
    finally:
        await tap.close()


class Caller:
    def __init__(self, address: Address) -> None:
        self.address = address

    async def __aenter__(self) -> Self:
        self.reader, self.writer = await asyncio.open_connection(
            self.address.host, self.address.port
        )
        return self

    async def __aexit__(self, *exc) -> None:
        self.writer.transport.abort()

    async def ask(
        self, path: str = "/health", method: str = "GET", body: bytes = b"", headers: str = ""
    ) -> bytes:
        self.send(path, method, body, headers)
        head = await self.head()
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:") and method != "HEAD":
                return await self.reader.readexactly(int(line.split(b":")[1]))
        return b""

    def send(self, path: str, method: str = "GET", body: bytes = b"", headers: str = "") -> None:
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        self.writer.write(
            f"{method} {path} HTTP/1.1\r\nHost: x\r\n{headers}{length}\r\n".encode() + body
        )

    async def head(self) -> bytes:
        return await self.reader.readuntil(b"\r\n\r\n")


@live
async def test_exchanges_on_one_connection_pass_and_are_recorded():
    async with Server() as server, tapped(server) as (tap, events), Caller(tap.address) as caller:
        server.routes["/x"] = answer(b"y" * 1000)
        assert await caller.ask() == b"ok"
        assert (
            await caller.ask("/x?q=1", "POST", b"question", "X-Org-Id: acme\r\nCookie: secret\r\n")
            == b"y" * 1000
        )
        assert await caller.ask("/none") == b"no such path"
        assert server.requests == [("GET", "/health"), ("POST", "/x?q=1"), ("GET", "/none")]
        assert server.bodies[1] == b"question"
        assert [(e.n, e.connection, e.method, e.path, e.status, e.error) for e in events] == [
            (1, 1, "GET", "/health", 200, ""),
            (2, 1, "POST", "/x?q=1", 200, ""),
            (3, 1, "GET", "/none", 404, ""),
        ]
        assert events[1].headers == {"x-org-id": "acme"}
        for wire in events:
            assert 0 < wire.t <= wire.request_end < wire.response_start <= wire.end
        assert "3 exchanges, 1 of 1 connections open" in repr(tap)


@live
async def test_a_request_in_pieces_is_one_exchange():
    async with Server() as server, tapped(server) as (tap, events), Caller(tap.address) as caller:
        server.routes["/long"] = answer(b"whole")
        for piece in (b"POST /lo", b"ng HTTP/1.1\r\nContent-Le", b"ngth: 6\r\n\r\nabc", b"def"):
            caller.writer.write(piece)
            await caller.writer.drain()
            await asyncio.sleep(0.01)  # not to wait for something: to make four segments of it
        await caller.head()
        assert server.bodies == [b"abcdef"]
        assert [(wire.path, wire.status) for wire in events] == [("/long", 200)]
        assert events[0].request_end - events[0].t > 20_000_000


@live
async def test_streams_pass_unbuffered_and_are_recorded_at_their_start():
    class Streaming(Server):
        async def reply(self, method, path, writer) -> None:
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
            )
            self.stream = writer

    async with (
        Streaming() as server,
        tapped(server) as (tap, events),
        Caller(tap.address) as caller,
    ):
        caller.send("/stream", headers="Last-Event-ID: 41\r\n")
        await caller.head()
        wire = events[0]
        assert (wire.status, wire.end, wire.error, wire.headers) == (
            200,
            0,
            "",
            {"last-event-id": "41"},
        )
        assert wire.response_start > 0
        for n in range(3):
            server.stream.write(b"7\r\nid: %d\n\n\r\n" % n)
            assert await caller.reader.readexactly(12) == b"7\r\nid: %d\n\n\r\n" % n
        caller.writer.close()
        await eventually(server.stream.transport.is_closing)
        assert len(events) == 1


@live
async def test_heads_interim_answers_and_answers_without_length():
    class Odd(Server):
        async def reply(self, method, path, writer) -> None:
            if method == "HEAD":
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n")
            elif path == "/continue":
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n" + answer(b"done", 201))
            elif path == "/unchanged":
                writer.write(b'HTTP/1.1 304 Not Modified\r\nETag: "1"\r\n\r\n')
            else:
                writer.write(b"HTTP/1.1 200 OK\r\n\r\nuntil the end")
                await writer.drain()
                writer.close()

    async with Odd() as server, tapped(server) as (tap, events), Caller(tap.address) as caller:
        await caller.ask("/h", "HEAD")
        caller.send("/continue")
        assert b"100 Continue" in await caller.head()
        assert b"201" in await caller.head()
        assert await caller.reader.readexactly(4) == b"done"
        await caller.ask("/unchanged")
        caller.send("/open")
        await caller.head()
        assert await caller.reader.read() == b"until the end"
        assert [(e.path, e.status, e.error, e.end > 0) for e in events] == [
            ("/h", 200, "", True),
            ("/continue", 201, "", True),
            ("/unchanged", 304, "", True),
            ("/open", 200, "", True),
        ]


@live
async def test_a_large_answer_waits_for_a_slow_reader():
    size = 30_000_000
    async with Server() as server, tapped(server) as (tap, events), Caller(tap.address) as caller:
        server.routes["/big"] = answer(b"z" * size)
        caller.send("/big")
        await caller.head()
        assert tap._open
        assert events == []  # most of it is still with the server
        assert len(await caller.reader.readexactly(size)) == size
        assert events[0].status == 200


@live
async def test_a_node_that_is_not_there():
    nobody = Address(claim_host(), 8080)
    async with tapped(nobody) as (tap, events), Caller(tap.address) as caller:
        with pytest.raises(ConnectionResetError):
            await caller.ask()
        wire = events[0]
        assert (wire.error, wire.status, wire.response_start) == ("upstream-refused", 0, 0)
        assert wire.end >= wire.request_end > 0


@live
async def test_a_node_that_ends_in_the_middle():
    class Dying(Server):
        async def reply(self, method, path, writer) -> None:
            if path == "/half":
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
                await writer.drain()
            if path == "/rst":
                reset(writer)
            else:
                writer.close()

    async with Dying() as server, tapped(server) as (tap, events):
        async with Caller(tap.address) as caller:
            caller.send("/none")
            assert await caller.reader.read() == b""
        async with Caller(tap.address) as caller:
            caller.send("/half")
            assert (await caller.reader.read()).endswith(b"half")
        async with Caller(tap.address) as caller:
            with pytest.raises(ConnectionResetError):
                await caller.ask("/rst")
        assert [(e.path, e.status, e.error) for e in events] == [
            ("/none", 0, "upstream-closed"),
            ("/half", 200, "upstream-closed"),
            ("/rst", 0, "upstream-closed"),
        ]


@live
async def test_a_caller_that_gives_up():
    class Silent(Server):
        async def reply(self, method, path, writer) -> None:
            pass

    async with Silent() as server, tapped(server) as (tap, events):
        async with Caller(tap.address) as caller:
            caller.send("/health")
            await eventually(lambda: server.requests)
        await eventually(lambda: events)
        assert (events[0].error, events[0].status) == ("caller-closed", 0)
        await eventually(server.peers[0].transport.is_closing)


@live
async def test_what_is_under_way_when_the_tap_closes_is_recorded():
    class Silent(Server):
        async def reply(self, method, path, writer) -> None:
            pass

    async with Silent() as server, tapped(server) as (tap, events), Caller(tap.address) as caller:
        caller.send("/health")
        await eventually(lambda: server.requests)
        await tap.close()
        await tap.close()
        assert [wire.error for wire in events] == ["tap-closed"]
        assert "closed" in repr(tap)


@live
async def test_what_is_not_http_passes_and_is_not_recorded():
    async def echo(reader, writer) -> None:
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with (
        tapped(Address(*server.sockets[0].getsockname())) as (tap, _),
        Caller(tap.address) as caller,
    ):
        for word in (b"\x00\x01\x02PING", b"\xff\xff"):
            caller.writer.write(word)
            assert await caller.reader.readexactly(len(word)) == word
    server.close()


# ---------------------------------------------------------------------------------------------------------- scripted


def only(kind: Kind, **how) -> Script:
    return Script((Rule(Answer(kind, **how), times=1),))


@live
async def test_scripted_statuses_come_from_the_tap_and_the_connection_lives_on():
    script = Script((Rule(Answer(code=503, retry_after=3), per_path=2),))
    async with (
        Server() as server,
        tapped(server, script) as (tap, events),
        Caller(tap.address) as caller,
    ):
        bodies = [await caller.ask("/health", "POST", b"b" * 100_000) for _ in range(3)]
        assert bodies == [b'{"error": "scripted"}'] * 2 + [b"ok"]
        assert len(server.requests) == 1
        assert [(e.status, e.scripted, e.connection) for e in events] == [
            (503, "503", 1),
            (503, "503", 1),
            (200, "", 1),
        ]
        assert all(e.t <= e.request_end <= e.response_start <= e.end for e in events)


@live
async def test_a_scripted_hang_lasts_until_the_caller_gives_up():
    async with Server() as server, tapped(server, only(Kind.HANG)) as (tap, events):
        async with Caller(tap.address) as caller:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(caller.ask(), 0.2)
            assert events == []
        await eventually(lambda: events)
        wire = events[0]
        assert (wire.scripted, wire.error, wire.status) == ("hang", "caller-closed", 0)
        assert wire.end - wire.t > 150_000_000
        assert server.requests == []


@live
async def test_a_scripted_reset():
    async with Server() as server, tapped(server, only(Kind.RESET)) as (tap, events):
        async with Caller(tap.address) as caller:
            with pytest.raises(ConnectionResetError):
                await caller.ask()
        async with Caller(tap.address) as caller:
            assert await caller.ask() == b"ok"
        assert [(e.scripted, e.status, e.error) for e in events] == [
            ("reset", 0, ""),
            ("", 200, ""),
        ]


@live
async def test_a_scripted_cut_in_the_middle_of_the_body():
    async with (
        Server() as server,
        tapped(server, only(Kind.CUT, body="0123456789")) as (tap, events),
    ):
        async with Caller(tap.address) as caller:
            caller.send("/health")
            got = b""
            with contextlib.suppress(ConnectionResetError):
                while data := await caller.reader.read(1000):
                    got += data
            assert b"56789" not in got  # how much arrives before the RST is the network's affair
        assert [(e.scripted, e.status) for e in events] == [("cut", 200)]


@live
async def test_scripted_bodies():
    rules = (
        Rule(Answer(Kind.CORRUPT), path="/corrupt"),
        Rule(Answer(Kind.EMPTY), path="/empty"),
        Rule(Answer(Kind.EMPTY, body="[]"), path="/list"),
    )
    async with (
        Server() as server,
        tapped(server, Script(rules)) as (tap, events),
        Caller(tap.address) as caller,
    ):
        assert (await caller.ask("/corrupt")).startswith(b'{"seq": 41, "orgs"')
        assert await caller.ask("/empty") == b""
        assert await caller.ask("/list") == b"[]"
        assert [e.scripted for e in events] == ["corrupt", "empty", "empty"]


@live
async def test_a_delay_comes_before_the_nodes_own_answer():
    async with Server() as server, tapped(server, only(Kind.PASS, delay=0.1)) as (tap, events):
        async with Caller(tap.address) as caller:
            assert await caller.ask("/health", "POST", b"kept") == b"ok"
            assert await caller.ask() == b"ok"
        assert server.bodies == [b"kept", b""]
        assert [e.scripted for e in events] == ["pass", ""]
        assert events[0].response_start - events[0].request_end >= 100_000_000


@live
async def test_a_caller_that_gives_up_during_a_delay():
    async with Server() as server, tapped(server, only(Kind.PASS, delay=30)) as (tap, events):
        async with Caller(tap.address) as caller:
            caller.send("/health")
            await eventually(lambda: tap.exchanges)
        await eventually(lambda: events)
        assert events[0].error == "caller-closed"
        assert server.requests == []


@live
async def test_another_script_while_it_runs():
    async with Server() as server, tapped(server) as (tap, events), Caller(tap.address) as caller:
        assert await caller.ask() == b"ok"
        tap.set_script(Script((Rule(Answer(code=401), name="locked out"),)))
        assert await caller.ask() == b'{"error": "scripted"}'
        tap.set_script(Script())
        assert await caller.ask() == b"ok"
        assert [type(e) for e in events] == [Wire, Note, Wire, Note, Wire]
        assert [(e.text, e.source) for e in events if isinstance(e, Note)] == [
            ("script: locked out", "pop->hub"),
            ("script: pass everything", "pop->hub"),
        ]


@live
async def test_resets_reach_a_caller_beyond_toxiproxy(daemon):
    async with Server() as server, tapped(server, only(Kind.RESET)) as (tap, _):
        control = await daemon.control()
        listen = Address(claim_host(), 20001)
        await control.create({"pop->tapped": (listen, tap.address)})
        await control.add("pop->tapped", CARRY_RESETS)
        async with Caller(listen) as caller:
            with pytest.raises(ConnectionResetError):
                await caller.ask()
        async with Caller(listen) as caller:
            assert await caller.ask() == b"ok"
