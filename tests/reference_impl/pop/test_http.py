"""The data path's HTTP server: framing, order, limits, back-pressure, ending. On both event loops."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from http import HTTPStatus

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from reference_impl.pop import http
from reference_impl.pop.http import Connection, HttpServer, Limits, bind, response

DEADLINE = 10.0


class Echo:
    """Answers with what it was asked; some paths answer later, or not at all."""

    def __init__(self):
        self.gate = asyncio.Event()  # what /later waits for
        self.seen = []
        self.ended = asyncio.Event()  # a stream or a wait ended
        self.written = 0

    def route(self, method, target, headers):
        return lambda body: self.answer(method, target, headers, body)

    def answer(self, method, target, headers, body):
        self.seen.append((method, target, dict(headers), body))
        if target == b"/fail":
            raise RuntimeError("on purpose")
        later = {
            b"/later": self.later,
            b"/stream": self.stream,
            b"/flood": self.flood,
            b"/fail-later": self.fail_later,
            b"/silent": self.silent,
        }.get(target)
        if later is not None:
            return later
        if target == b"/big":
            return response(HTTPStatus.OK, b"x" * 100_000)
        return response(HTTPStatus.OK, b"%b %b %b" % (method, target, body))

    async def later(self, writer):
        try:
            await self.gate.wait()
            await writer.send(response(HTTPStatus.OK, b"later"))
        finally:
            self.ended.set()

    async def stream(self, writer):
        try:
            await writer.start()
            await writer.write(b"one")
            await self.gate.wait()
            await writer.write(b"two")
        finally:
            self.ended.set()

    async def flood(self, writer):
        try:
            await writer.start()
            while True:
                await writer.write(b"x" * 10_000)
                self.written += 10_000
        finally:
            self.ended.set()

    async def fail_later(self, writer):
        raise RuntimeError("on purpose")

    async def silent(self, writer):
        pass


class Client:
    """One raw connection to the server."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    def send(self, data):
        self.writer.write(data)

    async def answer(self, *, head_only=False):
        """(status, headers, body) of the next response."""
        async with asyncio.timeout(DEADLINE):
            head = await self.reader.readuntil(b"\r\n\r\n")
            status_line, *lines = head.decode().splitlines()
            headers = dict(line.lower().split(": ", 1) for line in lines if line)
            length = 0 if head_only else int(headers.get("content-length", 0))
            return int(status_line.split()[1]), headers, await self.reader.readexactly(length)

    async def chunk(self):
        async with asyncio.timeout(DEADLINE):
            size = int(await self.reader.readline(), 16)
            data = await self.reader.readexactly(size)
            assert await self.reader.readexactly(2) == b"\r\n"
            return data

    async def hung_up(self):
        """Whether nothing more comes before the server hangs up."""
        async with asyncio.timeout(DEADLINE):
            try:
                return await self.reader.read() == b""
            except ConnectionResetError:
                return True


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request):
    def runner(scenario, limits=None):
        async def main():
            echo = Echo()
            server = HttpServer(echo, limits=limits)
            await server.start(bind("127.0.0.1", 0))
            writers = []

            async def connect():
                reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
                writers.append(writer)
                return Client(reader, writer)

            try:
                await scenario(server, echo, connect)
            finally:
                for writer in writers:
                    writer.close()
                await server.close(grace=0.1)

        with asyncio.Runner(loop_factory=request.param) as loop:
            loop.run(main())

    return runner


def get(target=b"/", extra=b""):
    return b"GET %b HTTP/1.1\r\nHost: x\r\n%b\r\n" % (target, extra)


def post(body, target=b"/", extra=b""):
    return b"POST %b HTTP/1.1\r\nContent-Length: %d\r\n%b\r\n%b" % (target, len(body), extra, body)


async def until(condition, what):
    """Wait for a condition that the loop brings about."""
    try:
        async with asyncio.timeout(DEADLINE):
            while not condition():
                await asyncio.sleep(0.001)
    except TimeoutError:
        raise AssertionError(f"not within {DEADLINE} s: {what()}") from None


# -- framing -------------------------------------------------------------------------------------------------------------


def test_keeps_the_connection_and_knows_its_head_again(run):
    async def scenario(server, echo, connect):
        client = await connect()
        for body in (b"abc", b"xyz", b"longer", b"short"):
            client.send(post(body))
            assert await client.answer() == (
                200,
                {"content-type": "application/json", "content-length": str(7 + len(body))},
                b"POST / " + body,
            )
        assert sorted(head.length for head in server.known_heads.values()) == [3, 5, 6]

    run(scenario)


def test_a_known_head_without_its_body_is_parsed(run):
    async def scenario(server, echo, connect):
        client = await connect()
        client.send(post(b"first"))
        await client.answer()
        head = post(b"other")[:-5]
        client.send(head)
        seen = len(echo.seen)
        other = await connect()
        other.send(get())  # when this is answered, the head has been read
        await other.answer()
        assert len(echo.seen) == seen + 1
        client.send(b"other")
        assert (await client.answer())[2] == b"POST / other"

    run(scenario)


def test_known_heads_are_bounded_and_not_for_connections_that_never_repeat(run, monkeypatch):
    monkeypatch.setattr(http, "KNOWN_HEADS", 10)
    monkeypatch.setattr(http, "UNKNOWN_HEADS", 25)

    async def scenario(server, echo, connect):
        client = await connect()
        sizes = []
        for number in range(30):
            client.send(get(b"/%d" % number))
            assert (await client.answer())[2] == b"GET /%d " % number
            sizes.append(len(server.known_heads))
        assert max(sizes) == 10
        assert sizes[24:] == [5] * 6  # the last ones were not remembered

    run(scenario)


def test_a_handler_that_fails_to_route_costs_one_answer(run, caplog):
    async def scenario(server, echo, connect):
        def route(method, target, headers):
            raise RuntimeError("on purpose")

        client = await connect()
        client.send(get())
        await client.answer()
        (connection,) = server._connections
        connection._route = route
        client.send(get(b"/new"))
        assert (await client.answer())[0] == 500
        client.send(get())
        assert (await client.answer())[0] == 200

    with caplog.at_level(logging.ERROR):
        run(scenario)
    assert len(caplog.records) == 1


def test_chunked_bodies(run):
    async def scenario(server, echo, connect):
        client = await connect()
        request = (
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
        )
        for _ in range(2):
            client.send(request)
            assert (await client.answer())[2] == b"POST / abcde"
        assert not server.known_heads

    run(scenario)


def test_pipelined_answers_keep_their_order(run):
    async def scenario(server, echo, connect):
        client = await connect()
        client.send(
            get(b"/a") + get(b"/later") + get(b"/b") + post(b"c") + get(b"/later") + get(b"/d")
        )
        assert (await client.answer())[2] == b"GET /a "
        await until(lambda: len(echo.seen) == 2, lambda: echo.seen)
        echo.gate.set()
        got = [(await client.answer())[2] for _ in range(5)]
        assert got == [b"later", b"GET /b ", b"POST / c", b"later", b"GET /d "]

    run(scenario)


def test_asks_for_the_body_of_a_client_that_waits(run):
    async def scenario(server, echo, connect):
        client = await connect()
        request = post(b"body", extra=b"Expect: 100-continue\r\n")
        client.send(request[:-4])
        assert (await client.answer())[0] == 100
        client.send(request[-4:])
        assert (await client.answer())[2] == b"POST / body"

    run(scenario)


def test_head_has_no_body(run):
    async def scenario(server, echo, connect):
        client = await connect()
        for _ in range(2):
            client.send(b"HEAD /x HTTP/1.1\r\n\r\n")
            status, headers, _ = await client.answer(head_only=True)
            assert (status, headers["content-length"]) == (200, "8")
        client.send(b"HEAD /later HTTP/1.1\r\n\r\n")
        assert (await client.answer(head_only=True))[0] == 405
        client.send(get())
        assert (await client.answer())[2] == b"GET / "

    run(scenario)


@pytest.mark.parametrize(
    ("request_bytes", "token"),
    [
        (get(extra=b"Connection: close\r\n"), "close"),
        (b"GET / HTTP/1.0\r\n\r\n", "close"),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "keep-alive"),
    ],
)
def test_hangs_up_when_asked(run, request_bytes, token):
    async def scenario(server, echo, connect):
        client = await connect()
        client.send(request_bytes)
        status, headers, body = await client.answer()
        assert (status, headers["connection"], body) == (200, token, b"GET / ")
        if token == "close":
            assert await client.hung_up()
        else:
            client.send(request_bytes)
            assert (await client.answer())[1]["connection"] == "keep-alive"

    run(scenario)


def test_an_upgrade_is_answered_as_plain_http(run):
    async def scenario(server, echo, connect):
        client = await connect()
        client.send(get(extra=b"Connection: Upgrade\r\nUpgrade: h2c\r\n"))
        assert (await client.answer())[0] == 200
        assert await client.hung_up()

    run(scenario)


def test_a_half_closed_client_gets_its_answers(run):
    async def scenario(server, echo, connect):
        client = await connect()
        client.send(get(b"/later") + get(b"/b"))
        client.writer.write_eof()
        await until(lambda: echo.seen, lambda: echo.seen)
        echo.gate.set()
        assert (await client.answer())[2] == b"later"
        assert (await client.answer())[2] == b"GET /b "
        assert await client.hung_up()

    run(scenario)


# -- limits --------------------------------------------------------------------------------------------------------------

SMALL = Limits(head=500, body=1000)


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        ([b"nonsense\r\n\r\n"], 400),
        ([b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n"], 400),
        ([get(extra=b"X: %b\r\n" % (b"y" * 600))], 431),
        ([get(b"/" + b"y" * 600)], 431),
        ([b"GET / HTTP/1.1\r\nX: ", *[b"y" * 100] * 6], 431),
        ([post(b"y" * 1001)], 413),
        ([post(b"y" * 1001)[:100]], 413),
        ([post(b"y" * 1001, extra=b"Expect: 100-continue\r\n")[:-1001]], 413),
        ([b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", *[b"64\r\n" + b"y" * 100 + b"\r\n"] * 11], 413),
    ],
)  # fmt: skip
def test_refuses(run, parts, status):
    async def scenario(server, echo, connect):
        client = await connect()
        for part in parts:
            client.send(part)
        got, headers, _ = await client.answer()
        assert (got, headers["connection"]) == (status, "close")
        assert await client.hung_up()
        assert echo.seen == []

    run(scenario, SMALL)


def test_takes_what_is_just_within_limits(run):
    async def scenario(server, echo, connect):
        client = await connect()
        client.send(post(b"y" * 1000))
        assert (await client.answer())[0] == 200
        client.send(get(extra=b"X: %b\r\n" % (b"y" * 400)))
        assert (await client.answer())[0] == 200

    run(scenario, SMALL)


def test_turns_away_one_connection_too_many(run):
    async def scenario(server, echo, connect):
        first = await connect()
        first.send(get())
        await first.answer()
        second = await connect()
        assert (await second.answer())[0] == 503
        assert await second.hung_up()
        await until(lambda: server.connections == 1, lambda: server)
        third = await connect()
        third.writer.close()
        first.send(get())
        assert (await first.answer())[0] == 200

    run(scenario, Limits(connections=1))


def test_hangs_up_on_the_idle(run):
    async def scenario(server, echo, connect):
        client = await connect()
        client.send(get())
        await client.answer()
        assert await client.hung_up()

    run(scenario, Limits(idle=0.1))


def test_tells_the_dribbling_before_hanging_up(run):
    async def scenario(server, echo, connect):
        client = await connect()
        client.send(b"GET / HT")
        assert (await client.answer())[0] == 408
        assert await client.hung_up()

    run(scenario, Limits(idle=0.1))


def test_does_not_hang_up_on_those_who_wait_for_an_answer(run):
    async def scenario(server, echo, connect):
        waiting, idle = await connect(), await connect()
        waiting.send(get(b"/later"))
        assert await idle.hung_up()  # so the time is over
        echo.gate.set()
        assert (await waiting.answer())[2] == b"later"

    run(scenario, Limits(idle=0.1))


def test_stops_reading_from_a_client_that_does_not_take_its_answers(run):
    async def scenario(server, echo, connect):
        client = await connect()
        count = 400  # 40 MB of answers
        client.send(get(b"/big") * count)
        (connection,) = server._connections
        await until(lambda: connection._paused, lambda: connection)
        assert len(echo.seen) < count
        for _ in range(count):
            assert len((await client.answer())[2]) == 100_000

    run(scenario)


def test_stops_reading_when_too_many_requests_wait(run):
    async def scenario(server, echo, connect):
        client = await connect()
        client.send(get(b"/later"))
        await until(lambda: echo.seen, lambda: echo.seen)
        (connection,) = server._connections
        for _ in range(20):
            client.send(get(b"/b") * 1000)
        await until(lambda: len(connection._waiting) >= 8, lambda: connection)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.2):  # a client that may go on sending does not get further
                await client.writer.drain()
        assert len(connection._waiting) < 20_000
        echo.gate.set()
        assert (await client.answer())[2] == b"later"
        for _ in range(20_000):
            assert (await client.answer())[2] == b"GET /b "

    run(scenario, Limits(pipeline=8))


def test_a_large_body_is_no_large_head(run):
    async def scenario(server, echo, connect):
        client = await connect()
        client.send(post(b"y" * 900) + get(extra=b"X: %b\r\n" % (b"y" * 400))[:-2])
        assert (await client.answer())[0] == 200
        client.send(b"\r\n")
        assert (await client.answer())[0] == 200
        client.send(get() + get(extra=b"X: %b\r\n" % (b"y" * 600)))
        assert (await client.answer())[0] == 200
        assert (await client.answer())[0] == 431

    run(scenario, SMALL)


# -- answers over time ---------------------------------------------------------------------------------------------------


def test_streams(run):
    async def scenario(server, echo, connect):
        client = await connect()
        client.send(get(b"/stream"))
        status, headers, _ = await client.answer()
        assert (status, headers["content-type"]) == (200, "text/event-stream")
        assert await client.chunk() == b"one"
        echo.gate.set()
        assert await client.chunk() == b"two"
        assert await client.chunk() == b""
        client.send(get(b"/b"))
        assert (await client.answer())[2] == b"GET /b "

    run(scenario)


def test_streams_to_old_clients_until_the_end(run):
    async def scenario(server, echo, connect):
        echo.gate.set()
        client = await connect()
        client.send(b"GET /stream HTTP/1.0\r\n\r\n")
        assert (await client.answer())[1]["connection"] == "close"
        async with asyncio.timeout(DEADLINE):
            assert await client.reader.read() == b"onetwo"

    run(scenario)


def test_a_stream_waits_for_its_client_and_gives_it_up_when_it_stalls(run):
    async def scenario(server, echo, connect):
        client = await connect()
        client.writer.transport.pause_reading()
        client.send(get(b"/flood"))
        async with asyncio.timeout(DEADLINE):
            await echo.ended.wait()
        assert 0 < echo.written < 50_000_000
        await until(lambda: server.connections == 0, lambda: server)

    run(scenario, Limits(stall=0.2))


def test_a_stream_ends_when_its_client_leaves(run):
    async def scenario(server, echo, connect):
        client = await connect()
        client.send(get(b"/stream"))
        await client.answer()
        client.writer.transport.abort()
        async with asyncio.timeout(DEADLINE):
            await echo.ended.wait()
        await until(lambda: server.connections == 0, lambda: server)

    run(scenario)


def test_a_failing_handler_costs_one_answer(run, caplog):
    async def scenario(server, echo, connect):
        client = await connect()
        client.send(get(b"/fail") + get(b"/b"))
        assert (await client.answer())[0] == 500
        assert (await client.answer())[2] == b"GET /b "
        for target in (b"/fail-later", b"/silent"):
            client = await connect()
            client.send(get(target))
            assert (await client.answer())[0] == 500
            assert await client.hung_up()

    with caplog.at_level(logging.ERROR):
        run(scenario)
    assert [record.message.split()[0:2] for record in caplog.records] == [["no", "answer"]] * 3


# -- ending --------------------------------------------------------------------------------------------------------------


def test_close_lets_outstanding_answers_finish(run):
    async def scenario(server, echo, connect):
        waiting, streaming, idle = await connect(), await connect(), await connect()
        waiting.send(get(b"/later"))
        streaming.send(get(b"/stream"))
        await streaming.answer()
        assert await streaming.chunk() == b"one"
        await until(lambda: len(echo.seen) == 2, lambda: echo.seen)
        closing = asyncio.create_task(server.close(grace=DEADLINE))
        assert await idle.hung_up()
        assert await streaming.hung_up()
        echo.gate.set()
        assert (await waiting.answer())[2] == b"later"
        assert await waiting.hung_up()
        await closing
        assert repr(server) == "<HttpServer closed, 0 connections>"

    run(scenario)


def test_close_waits_no_longer_than_its_grace(run):
    async def scenario(server, echo, connect):
        client = await connect()
        client.send(get(b"/later"))
        await until(lambda: echo.seen, lambda: echo.seen)
        async with asyncio.timeout(DEADLINE):
            await server.close(grace=0.05)
        assert echo.ended.is_set()
        assert await client.hung_up()

    run(scenario)


# -- without a network ---------------------------------------------------------------------------------------------------


def test_a_server_that_leaves_answers_each_connection_once_more(run):
    async def scenario(server, echo, connect):
        busy, kept, streaming, unused = [await connect() for _ in range(4)]
        busy.send(get(b"/later"))
        kept.send(get(b"/a"))
        assert "connection" not in (await kept.answer())[1]
        streaming.send(get(b"/stream"))
        await streaming.reader.readuntil(b"\r\n\r\n")
        await until(lambda: len(echo.seen) == 3, lambda: echo.seen)
        port = server.port
        leaving = asyncio.create_task(server.leave(linger=0.3, within=DEADLINE))
        async with asyncio.timeout(DEADLINE):
            await echo.ended.wait()  # the stream
        late = await connect()  # it was on its way
        for client in (late, kept):
            client.send(get(b"/b"))
            status, headers, _ = await client.answer()
            assert (status, headers["connection"]) == (200, "close")
            assert await client.hung_up()
        with pytest.raises(ConnectionRefusedError):
            async with asyncio.timeout(DEADLINE):
                while True:  # until the time for those on their way is over
                    _, extra = await asyncio.open_connection("127.0.0.1", port)
                    extra.close()
                    await asyncio.sleep(0.01)
        assert not leaving.done()  # an answer is outstanding, and one may still ask
        echo.gate.set()
        assert (await busy.answer())[2] == b"later"
        busy.send(get(b"/c"))
        assert (await busy.answer())[1]["connection"] == "close"
        unused.writer.close()
        async with asyncio.timeout(DEADLINE):
            await leaving
        assert server.connections == 0

    run(scenario)


def test_one_that_leaves_waits_no_longer_than_it_may_for_the_idle(run):
    async def scenario(server, echo, connect):
        idle = await connect()
        idle.send(get(b"/a"))
        await idle.answer()
        async with asyncio.timeout(DEADLINE):
            await server.leave(linger=0.0, within=0.05)
        assert server.connections == 1
        await server.close(grace=DEADLINE)
        assert await idle.hung_up()

    run(scenario)


def test_only_those_chosen_are_retired(run):
    async def scenario(server, echo, connect):
        clients = [await connect() for _ in range(4)]

        async def closed():
            told = []
            for client in clients:
                client.send(get(b"/a"))
                told.append((await client.answer())[1].get("connection"))
            return told

        assert await closed() == [None] * 4
        chosen = iter([True, False, True, False])
        server.retire(lambda: next(chosen))
        assert sorted(map(str, await closed())) == ["None", "None", "close", "close"]

    run(scenario)


class FakeTransport:
    def __init__(self):
        self.sent = b""
        self.closed = False

    def write(self, data):
        self.sent += data

    def set_write_buffer_limits(self, high):
        pass

    def get_extra_info(self, name):
        return ("127.0.0.1", 1)

    def is_closing(self):
        return self.closed

    def close(self):
        self.closed = True

    write_eof = close


class FakeServer:
    def __init__(self):
        self.limits = Limits()
        self.handler = Echo()
        self.known_heads = {}
        self.quick, self.quick_heads = b"", {}
        self.leaving = False

    def admit(self, connection):
        return True

    def forget(self, connection):
        pass


requests = st.lists(
    st.one_of(
        st.just(get(b"/a")),
        st.just(get(b"/a", b"X-Org-Id: acme\r\n")),
        st.binary(max_size=40).map(post),
        st.binary(min_size=1, max_size=9).map(
            lambda body: (
                b"POST /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n"
                % (len(body), body)
            )
        ),
    ),
    max_size=6,
)


@given(requests, st.data())
def test_however_requests_are_cut_the_answers_are_the_same(sent, data):
    whole, pieces = b"".join(sent), []
    while whole:
        cut = data.draw(st.sampled_from([len(sent[0]), 1, 7, 60, len(whole)]))
        pieces.append(whole[:cut])
        whole = whole[cut:]
    server = FakeServer()
    expected = []
    for request in sent:
        alone = Connection(FakeServer())
        alone.connection_made(FakeTransport())
        alone.data_received(request)
        expected.append(alone._transport.sent)
    connection = Connection(server)
    connection.connection_made(FakeTransport())
    for piece in pieces:
        connection.data_received(piece)
    assert connection._transport.sent == b"".join(expected)
    assert all(b" 200 OK" in each for each in expected)


def test_repr_tells_the_state():
    connection = Connection(FakeServer())
    connection.connection_made(FakeTransport())
    assert repr(connection) == "<Connection 127.0.0.1 ready, 0 waiting>"
