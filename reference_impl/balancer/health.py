"""Health checks over one persistent connection for each backend, so that a loss of it is seen at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Final, NoReturn, cast

import httptools
import msgspec

from reference_impl.config import Positive, Upstream

OK: Final = 200


class HealthSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`interval` between requests, in s. An answer that is not there an interval later is a failure.

    `failures` in a row make it down; a lost or refused connection does so alone where `loss_is_down`.
    It is up again when all answers were good for `hold` s. `path` is what is asked for.
    """

    interval: Positive = 0.2
    failures: Annotated[int, msgspec.Meta(ge=1)] = 2
    hold: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    loss_is_down: bool = False
    path: str = "/health"


class HealthCheck:
    """Watches one backend. `healthy` is None until known; `changed(reason)` is called when it turns.

    `alive`: it answers, be it that it had better not be used.
    """

    def __init__(
        self, target: Upstream, settings: HealthSettings, changed: Callable[[str], None]
    ) -> None:
        self.target = target
        self.settings = settings
        self.healthy: bool | None = None
        self.alive = False
        self._changed = changed
        self._failures = 0  # in a row
        self._good_since: float | None = None

    def __repr__(self) -> str:
        state = {None: "unknown", True: "up", False: "down"}[self.healthy]
        return f"<HealthCheck {self.target.to} {state} failures={self._failures}>"

    async def run(self) -> NoReturn:
        """Check until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            probe = _Probe(self._answered, self.settings.path)
            try:
                async with asyncio.timeout(self.settings.interval * self.settings.failures):
                    await loop.create_connection(lambda: probe, self.target.host, self.target.port)  # noqa: B023 - called before the next turn
                await self._watch(probe)
            except TimeoutError:
                self._failed("no connection in time")
            except OSError as error:
                self._failed(error.strerror or "no connection", lost=True)
            finally:
                probe.close()
            await asyncio.sleep(self.settings.interval)

    async def _watch(self, probe: _Probe) -> None:
        """Ask each interval, until the connection is lost or has no more answers."""
        probe.ask(self.target.host)
        while True:
            await asyncio.wait({probe.lost}, timeout=self.settings.interval)
            if probe.lost.done():
                if not probe.announced:
                    self._failed("connection lost", lost=True)
                return
            # Counting turns, not time: when we ourselves were held up, that is one failure and not many.
            if probe.waiting:
                self.alive = False
                self._failed("no answer")
                if self._failures >= self.settings.failures:
                    return
            else:
                probe.ask(self.target.host)

    def _answered(self, status: int) -> None:
        self.alive = True
        if status != OK:
            self._failed(f"status {status}")
            return
        now = asyncio.get_running_loop().time()
        self._failures = 0
        if self._good_since is None:
            self._good_since = now
        # One that was never seen before need not prove that it stays.
        if not self.healthy and (
            self.healthy is None or now - self._good_since >= self.settings.hold
        ):
            self._turn(healthy=True, reason="answers")

    def _failed(self, reason: str, *, lost: bool = False) -> None:
        self.alive = self.alive and not lost
        self._failures += 1
        self._good_since = None
        certain = lost and self.settings.loss_is_down
        if self.healthy is not False and (certain or self._failures >= self.settings.failures):
            self._turn(healthy=False, reason=reason)

    def _turn(self, *, healthy: bool, reason: str) -> None:
        self.healthy = healthy
        self._changed(reason)


class _Probe(asyncio.Protocol):
    """One connection that asks for the same path again and again. `lost` is done when it has ended.

    `announced`: the last answer said that the connection would be closed after it, as those of a worker that leaves do.
    """

    def __init__(self, answered: Callable[[int], None], path: str) -> None:
        self.waiting = self.announced = False
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._answered = answered
        self._path = path
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)

    def __repr__(self) -> str:
        return f"<_Probe {'waiting' if self.waiting else 'idle'}>"

    def ask(self, host: str) -> None:
        if self._transport is not None:
            self.waiting = True
            head = f"GET {self._path} HTTP/1.1\r\nHost: {host}\r\n\r\n"
            self._transport.write(head.encode())

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.close()

    def on_message_complete(self) -> None:
        self.waiting = False
        self.announced = not self._parser.should_keep_alive()
        self._answered(self._parser.get_status_code())

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's signature
        self._transport = None
        if not self.lost.done():
            self.lost.set_result(None)
