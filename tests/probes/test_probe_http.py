import asyncio
import contextlib
import socket

import pytest

from harness.errors import RuntimeFailure
from harness.probes.http import Client, HttpFailure, error_of
from harness.units import now_ns
from tests.probes.probe_support import GROUP_SOURCE, Act, refusing, reply, reset, serving, until


async def ask(port, **more):
    async with Client("127.0.0.1", port) as client:
        return await client.request("GET", "/", **more)


async def failure_of(handler, **more):
    async with serving(handler) as server:
        with pytest.raises(HttpFailure) as caught:
            await ask(server.port, **more)
    return caught.value.error, caught.value.sent


def test_an_answer_has_status_headers_body_and_the_time_of_its_end(both_loops):
    async def main():
        async with serving(lambda r: reply({"a": 1}, headers="ETag: x\r\n")) as server:
            before = now_ns()
            response = await ask(server.port)
            assert before < response.end <= now_ns()
            assert (response.status, response.error) == (200, "")
            assert response.headers["etag"] == "x"
            assert response.body == b'{"a": 1}'

    both_loops(main())


def test_request_bytes(run):
    async def main():
        async with serving(lambda r: reply()) as server, Client("127.0.0.1", server.port) as client:
            await client.request("PUT", "/x?y=1", headers={"X-Org-Id": "acme"}, body=b"hello")
        (request,) = server.requests
        assert (request.method, request.path, request.body) == ("PUT", "/x?y=1", b"hello")
        assert request.headers == {
            "host": f"127.0.0.1:{server.port}",
            "x-org-id": "acme",
            "content-length": "5",
        }

    run(main())


def test_refused_is_certainly_not_sent(both_loops):
    async def main():
        with refusing() as port, pytest.raises(HttpFailure) as caught:
            await ask(port)
        assert (caught.value.error, caught.value.sent) == ("CONNECTION_REFUSED", False)

    both_loops(main())


def test_never_connected_is_certainly_not_sent(run):
    async def main():
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = []
        try:
            for _ in range(4):  # nobody accepts: the queue is full, further SYNs are dropped
                filler = socket.socket()
                fillers.append(filler)
                filler.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    filler.connect(listener.getsockname())
            with pytest.raises(HttpFailure) as caught:
                await ask(listener.getsockname()[1], timeout=0.2)
            assert (caught.value.error, caught.value.sent) == ("TIMEOUT", False)
        finally:
            for sock in (*fillers, listener):
                sock.close()

    run(main())


@pytest.mark.parametrize(
    ("handler", "error"),
    [
        (lambda r: Act.HANG, "TIMEOUT"),
        (lambda r: Act.RESET, "CONNECTION_RESET"),
        (lambda r: Act.CLOSE, "CONNECTION_CLOSED"),
        (lambda r: b"SSH-2.0-OpenSSH\r\n\r\n", "INVALID"),
        (lambda r: b"HTTP/1.1 200 OK\r\nContent-Length: banana\r\n\r\n", "INVALID"),
    ],
    ids=["hang", "reset", "close", "not-http", "bad-length"],
)
def test_failures_after_sending(both_loops, handler, error):
    assert both_loops(failure_of(handler, timeout=0.3)) == (error, True)


def test_close_and_reset_in_the_middle_of_a_body(both_loops):
    def partly(ending):
        async def handler(request):
            request.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
            await request.writer.drain()
            if ending is Act.RESET:
                reset(request.writer)
            return ending

        return handler

    assert both_loops(failure_of(partly(Act.CLOSE))) == ("CONNECTION_CLOSED", True)
    assert both_loops(failure_of(partly(Act.RESET)))[0] == "CONNECTION_RESET"
    assert both_loops(failure_of(partly(Act.HANG), timeout=0.2)) == ("TIMEOUT", True)


def test_a_dripping_answer_can_not_stretch_the_timeout(run):
    async def drip(request):
        request.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while not request.writer.is_closing():
                request.writer.write(b"x")
                await request.writer.drain()
                await asyncio.sleep(0.01)
        return Act.CLOSE

    assert run(failure_of(drip, timeout=0.25)) == ("TIMEOUT", True)


def test_error_classes_of_statuses():
    assert [error_of(s) for s in (200, 204, 304, 404, 500, 503)] == [
        "",
        "",
        "HTTP_304",
        "HTTP_404",
        "HTTP_500",
        "SERVICE_UNAVAILABLE",
    ]


def test_connections_are_reused_last_used_first(both_loops):
    async def main():
        gate = asyncio.Event()

        async def handler(request):
            if request.path == "/wait":
                await gate.wait()
            return reply()

        async with serving(handler) as server, Client("127.0.0.1", server.port) as client:
            first = asyncio.create_task(client.request("GET", "/wait"))
            await until(lambda: len(server.requests) == 1, lambda: server.requests)
            await client.request("GET", "/")  # the first is busy: a second connection
            gate.set()
            await first
            await client.request("GET", "/")
            await client.request("GET", "/", fresh=True)
            assert [r.connection for r in server.requests] == [1, 2, 1, 3]
            assert "idle=3 open=3" in repr(client)

    both_loops(main())


def test_broken_idle_connections_are_dropped(both_loops):
    async def main():
        async with serving(lambda r: reply()) as server, Client("127.0.0.1", server.port) as client:
            await client.request("GET", "/")
            for writer in list(server.writers):
                reset(writer)
            await until(lambda: "idle=0 open=0" in repr(client), lambda: client)
            assert (await client.request("GET", "/")).status == 200
            assert [r.connection for r in server.requests] == [1, 2]

    both_loops(main())


def test_connection_close_is_honoured_and_so_is_a_body_that_ends_with_the_connection(both_loops):
    async def main():
        def handler(request):
            if request.path == "/close":
                return reply({}, headers="Connection: close\r\n")
            request.writer.write(b"HTTP/1.1 200 OK\r\n\r\nuntil the end")
            return Act.CLOSE

        async with serving(handler) as server, Client("127.0.0.1", server.port) as client:
            await client.request("GET", "/close")
            response = await client.request("GET", "/unframed")
            assert response.body == b"until the end"
            assert [r.connection for r in server.requests] == [1, 2]

    both_loops(main())


def test_a_request_is_dispatched_once(run):
    async def main():
        answers = iter([reply(), Act.CLOSE, reply()])
        async with (
            serving(lambda r: next(answers)) as server,
            Client("127.0.0.1", server.port) as client,
        ):
            await client.request("GET", "/")
            with pytest.raises(HttpFailure, match="CONNECTION_CLOSED"):
                await client.request(
                    "GET", "/"
                )  # on the reused connection, and not again on a new one
            assert len(server.requests) == 2

    run(main())


def test_source_address(both_loops):
    async def main():
        async with (
            serving(lambda r: reply()) as server,
            Client("127.0.0.1", server.port, source=GROUP_SOURCE) as client,
        ):
            await client.request("GET", "/")
            assert server.requests[0].peer == GROUP_SOURCE

    both_loops(main())


def test_a_source_address_that_is_not_ours_is_not_the_platforms_fault(run):
    async def main():
        async with Client("127.0.0.1", 1, source="203.0.113.1") as client:
            with pytest.raises(RuntimeFailure, match=r"can't connect from 203\.0\.113\.1"):
                await client.request("GET", "/")

    run(main())


def test_a_cancelled_request_gives_up_its_connection(run):
    async def main():
        async with (
            serving(lambda r: Act.HANG) as server,
            Client("127.0.0.1", server.port) as client,
        ):
            task = asyncio.create_task(client.request("GET", "/"))
            await until(lambda: len(server.requests) == 1, lambda: server.requests)
            task.cancel()
            await until(lambda: "idle=0 open=0" in repr(client), lambda: client)
            assert task.cancelled()

    run(main())


def test_stream_gives_pieces_as_they_come_and_says_how_it_ended(both_loops):
    async def main():
        go = asyncio.Event()

        async def handler(request):
            request.writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\none")
            await go.wait()
            request.writer.write(b"two")
            await request.writer.drain()
            return Act.CLOSE

        async with serving(handler) as server, Client("127.0.0.1", server.port) as client:
            stream = await client.stream("/stream")
            assert stream.status == 200
            assert (await stream.read(5)).data == b"one"
            with pytest.raises(HttpFailure, match="TIMEOUT"):
                await stream.read(0.05)
            go.set()
            assert (await stream.read(5)).data == b"two"
            with pytest.raises(HttpFailure, match="CONNECTION_CLOSED"):
                await stream.read(5)

    both_loops(main())


def test_stream_faster_than_its_reader_is_held_back_and_loses_nothing(both_loops):
    size = 24 << 20

    async def main():
        async def handler(request):
            request.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
            for _ in range(size >> 20):
                request.writer.write(b"x" * (1 << 20))
                await request.writer.drain()
            return Act.CLOSE

        async with serving(handler) as server, Client("127.0.0.1", server.port) as client:
            stream = await client.stream("/stream")
            await until(lambda: not stream._connection._reading, lambda: stream)
            got = 0
            with pytest.raises(HttpFailure, match="CONNECTION_CLOSED"):
                while True:
                    got += len((await stream.read(5)).data)
            assert got == size

    both_loops(main())
