"""The control plane's HTTP server: /health, /ready, /status and /stream for every role that uses it."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from aiohttp import web

from reference_impl.propagation.fanout import FanOut, Lane, last_event_id
from reference_impl.propagation.prewarm import Relay
from reference_impl.propagation.sse import CONTENT_TYPE, ROLE_HEADER
from reference_impl.propagation.types import Prewarm
from reference_impl.resilience.errors import INVALID, SERVICE_UNAVAILABLE, CallError

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
LARGEST_BODY: Final = 4 * 1024 * 1024  # bytes
STOP_WITHIN: Final = 1.0  # s that open requests get to end
BACKLOG: Final = 1024


def json_response(body: object, status: int = 200) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(body), status=status, content_type="application/json"
    )


def error_response(status: int, message: str, **more: object) -> web.Response:
    """`{"error": message}`: one line for a person, and what a program may need besides."""
    return json_response({"error": message, **more}, status)


class Site:
    """An HTTP server at one address. `status` gives what `GET /status` answers."""

    def __init__(
        self, status: Callable[[], dict[str, Any]], ready: Callable[[], str | None]
    ) -> None:
        self._status = status
        self._ready = ready
        self._runner: web.AppRunner | None = None
        self.app = web.Application(client_max_size=LARGEST_BODY)
        self.get("/health", self._health)
        self.get("/ready", self._readiness)
        self.get("/status", self._state)

    def __repr__(self) -> str:
        return f"<Site {self.addresses or 'closed'}>"

    @property
    def addresses(self) -> list[Any]:
        return self._runner.addresses if self._runner else []

    @property
    def port(self) -> int:
        """The port it listens on. Raises `IndexError` before `start`."""
        return int(self.addresses[0][1])

    def get(self, path: str, handler: Handler) -> None:
        self.app.router.add_get(path, handler, allow_head=False)

    def add(self, method: str, path: str, handler: Handler) -> None:
        self.app.router.add_route(method, path, handler)

    async def start(self, host: str, port: int) -> None:
        self._runner = web.AppRunner(
            self.app, access_log=None, handle_signals=False, shutdown_timeout=STOP_WITHIN
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port, backlog=BACKLOG).start()

    async def stop(self) -> None:
        """Idempotent."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def _readiness(self, _: web.Request) -> web.Response:
        """200 when this node's data is fit to be relied on; a subscriber asks before it moves here."""
        reason = self._ready()
        return web.Response(text="ready") if reason is None else error_response(503, reason)

    async def _state(self, _: web.Request) -> web.Response:
        return json_response(self._status())


def stream_handler(fanout: FanOut) -> Handler:
    """`GET /stream` from a `FanOut`."""

    async def handle(request: web.Request) -> web.StreamResponse:
        if reason := fanout.unready:
            return error_response(503, reason)
        try:
            last_id = last_event_id(request.headers.get("Last-Event-ID"))
        except CallError as error:
            return error_response(400, error.detail)
        with fanout.lane(request.headers.get("X-Org-Id")) as lane:
            if lane is None:
                return _too_many(fanout.settings.tenants.retry_after)
            return await _serve(request, fanout, last_id, lane)

    return handle


async def _serve(
    request: web.Request, fanout: FanOut, last_id: int | None, lane: Lane
) -> web.StreamResponse:
    response = web.StreamResponse(
        headers={"Content-Type": CONTENT_TYPE, "Cache-Control": "no-store"}
    )
    try:
        await response.prepare(request)
        role = request.headers.get(ROLE_HEADER, "")
        await fanout.serve(last_id, response.write, lane, role)
    except CallError as error:
        if error.kind in (SERVICE_UNAVAILABLE, INVALID):
            return response
        _abort(request)
    except ConnectionError:
        pass  # the subscriber is gone, and will come back by its id
    return response


def _too_many(wait: float) -> web.Response:
    refused = error_response(429, "too many streams")
    refused.headers["Retry-After"] = str(math.ceil(wait))
    return refused


def prewarm_handler(relay: Relay) -> Handler:
    """`POST /prewarm` to a `Relay`: 202, for what is passed on is not waited for."""

    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            relay.tell(msgspec.json.decode(await request.read(), type=Prewarm))
        except msgspec.DecodeError as error:
            return error_response(400, f"not a prewarm: {error}")
        return json_response({}, 202)

    return handle


def _abort(request: web.Request) -> None:
    """Drop a connection whose other end doesn't read: a graceful end would wait for it."""
    if request.transport is not None:
        request.transport.abort()


class Tasks:
    """The background tasks of a role, ended together. One that dies of a bug is reported to the loop, as `role_task`."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []

    def __repr__(self) -> str:
        return f"<Tasks {[task.get_name() for task in self._tasks if not task.done()]}>"

    def start(self, run: Callable[[], Any], name: str) -> None:
        """`run` gives a coroutine."""
        task: asyncio.Task[None] = asyncio.create_task(run(), name=name)
        task.add_done_callback(_report)
        self._tasks.append(task)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._tasks.clear()


def _report(task: asyncio.Task[None]) -> None:
    """Hand a bug in a background task to the loop's exception handler, with its name."""
    with contextlib.suppress(asyncio.CancelledError):
        if error := task.exception():
            task.get_loop().call_exception_handler(
                {"message": f"task {task.get_name()} ended", "exception": error, "role_task": task}
            )
