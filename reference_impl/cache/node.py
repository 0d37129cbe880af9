"""One node of the cache: a connection pool, a breaker, and what this process knows of the node's clock."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AskError, MovedError

from reference_impl.cache.base import CacheSettings
from reference_impl.config import Upstream
from reference_impl.resilience.breaker import Breaker
from reference_impl.resilience.errors import SERVICE_UNAVAILABLE, CallError, mapped

T = TypeVar("T")


class CacheNode:
    """Calls raise `CallError`, at once while the breaker is open; `MovedError` and `AskError` are answers."""

    def __init__(self, link: Upstream, settings: CacheSettings) -> None:
        self.link = link
        self.breaker = Breaker(link.to, settings.breaker)
        self.ahead: float | None = (
            None  # its clock less the loop's, s, or less than that: never more
        )
        self._timeout = settings.timeout
        self._redis = Redis(
            host=link.host,
            port=link.port,
            socket_connect_timeout=settings.timeout,
            socket_timeout=settings.timeout,
            retry=Retry(NoBackoff(), 0),  # who calls has the database to go to
        )

    def __repr__(self) -> str:
        return f"<CacheNode {self.link} {self.breaker.state}>"

    async def script(self, text: str, name: str, *args: Any, ask: bool = False) -> Any:
        """Run a script on a key. `ask`: where the node is only about to get its slot."""

        async def run() -> Any:
            if not ask:
                return await self._redis.eval(text, 1, name, *args)
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.execute_command("ASKING")
                pipe.execute_command("EVAL", text, 1, name, *args)
                return (await pipe.execute())[1]

        return await self._guarded(run)

    async def learn_clock(self) -> float:
        """Its clock less the loop's, s; asked for where nothing has been heard of it yet."""
        if self.ahead is None:
            seconds, micros = await self._guarded(self._redis.time)
            self.heard(int(seconds) + int(micros) / 1_000_000)
        assert self.ahead is not None
        return self.ahead

    async def command(self, *words: Any) -> Any:
        """Outside the breaker: what keeps the cluster in order must find out that a node is back."""
        return await self._within(
            lambda: cast("Awaitable[Any]", self._redis.execute_command(*words))  # type: ignore[no-untyped-call]
        )

    def heard(self, seconds: float) -> None:
        """Its clock was at `seconds` a moment ago. The loop's time now is later, so what we know is never too much."""
        self.ahead = seconds - asyncio.get_running_loop().time()

    async def close(self) -> None:
        await self._redis.aclose()

    async def _guarded(self, call: Callable[[], Awaitable[T]]) -> T:
        async def operation() -> T | MovedError | AskError:
            try:
                return await self._within(call)
            except (MovedError, AskError) as elsewhere:
                return elsewhere

        def fallback(error: CallError | None) -> CallError:
            return error or CallError(SERVICE_UNAVAILABLE, f"{self.link.to}: its breaker is open")

        done = await self.breaker.call(operation, cast("Any", fallback))
        if isinstance(done, Exception):
            raise done
        return cast("T", done)

    async def _within(self, call: Callable[[], Awaitable[T]]) -> T:
        redirected: MovedError | AskError
        with mapped(f"cache node {self.link}"):
            try:
                async with asyncio.timeout(self._timeout):
                    return await call()
            except (MovedError, AskError) as error:
                redirected = error
        raise redirected
