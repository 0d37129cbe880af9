"""The HTTP client: what the other side sees, and which error each failure becomes."""

import asyncio
import random
import time

import pytest
from aiohttp import web

from reference_impl.resilience.breaker import Breaker, BreakerSettings, State
from reference_impl.resilience.errors import CallError
from reference_impl.resilience.http import HttpClient, ResilientClient
from reference_impl.resilience.retry import RetrySettings
from tests.reference_impl.support import own_host


class Server:
    """Answers with the statuses of `script` in turn, then 200. 0 hangs, -1 resets."""

    def __init__(self, *script):
        self.script = list(script)
        self.seen = []
        self.peers = set()

    async def __aenter__(self):
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/"
        return self

    async def __aexit__(self, *exc):
        await self._runner.cleanup()

    async def _answer(self, request):
        began = time.monotonic()
        self.peers.add(request.transport.get_extra_info("peername"))
        status = self.script.pop(0) if self.script else 200
        if status == 0:
            await asyncio.sleep(30)
        if status == -1:
            request.transport.abort()
            return web.Response()
        response = web.Response(status=status, text="body")
        await response.prepare(request)
        await response.write_eof()
        self.seen.append((request.headers["X-Attempt"], began, time.monotonic()))
        return response


def run(server, test, timeout=5.0):
    async def main():
        async with server:
            client = HttpClient(timeout)
            try:
                return await test(client)
            finally:
                await client.close()

    return asyncio.run(main())


def resilient(client, **limits):
    return ResilientClient(
        client, Breaker("b", BreakerSettings(**limits)), RetrySettings(), random.Random(3)
    )


@pytest.mark.parametrize(
    ("script", "kind"),
    [(503, "SERVICE_UNAVAILABLE"), (500, "HTTP_500"), (401, "HTTP_401"), (404, "HTTP_404"),
     (0, "TIMEOUT"), (-1, "CONNECTION_RESET")],
)  # fmt: skip
def test_each_failure_has_its_kind(script, kind):
    server = Server(script)

    async def test(client):
        with pytest.raises(CallError) as caught:
            await client.request("GET", server.url)
        assert caught.value.kind == kind

    run(server, test, timeout=0.2 if script == 0 else 5.0)


def test_a_refused_connection_is_not_a_reset():
    async def main():
        client = HttpClient(5.0)
        with pytest.raises(CallError) as caught:
            await client.request("GET", f"http://{own_host()}:8080/")
        await client.close()
        return caught.value.kind

    assert asyncio.run(main()) == "CONNECTION_REFUSED"


def test_attempts_are_numbered_and_use_one_connection():
    """The lower bound of a gap is strict; the upper one is the machine's as much as ours."""
    server = Server(503, 503)

    async def test(client):
        answer = await resilient(client).request("GET", server.url, lambda error: error)
        assert (answer.status, answer.body) == (200, b"body")

    run(server, test)
    assert [attempt for attempt, _, _ in server.seen] == ["1", "2", "3"]
    assert len(server.peers) == 1
    for (_, _, ended), (_, began, _), delay in zip(
        server.seen, server.seen[1:], (0.1, 0.2), strict=False
    ):
        assert delay - 0.002 <= began - ended <= delay * 1.1 + 0.5


def test_the_breaker_counts_operations_and_not_attempts():
    server = Server(*[503] * 6)

    async def test(client):
        calls = resilient(client, failure_threshold=2)
        for _ in range(2):
            error = await calls.request("GET", server.url, lambda error: error)
            assert error.kind == "SERVICE_UNAVAILABLE"
        assert calls.breaker.state is State.OPEN
        assert await calls.request("GET", server.url, lambda error: error) is None
        assert len(server.seen) == 6

    run(server, test)
