"""Calls to other nodes over HTTP: every one with a timeout, retried, behind a circuit breaker.

The breaker is outside and the retry inside: to the breaker, an operation is a call with all its attempts.
"""

from __future__ import annotations

import asyncio
import io
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import aiohttp

from reference_impl.resilience.breaker import Breaker
from reference_impl.resilience.errors import CallError, mapped, status_error
from reference_impl.resilience.retry import RetrySettings, retry

T = TypeVar("T")
BAD = 400
LARGE = 1 << 19  # bytes of a body


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer with a status below 400."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class HttpClient:
    """One connection pool. Keep-alive connections are used again, so a retry costs no connect.

    `timeout` in s is for one attempt as a whole.
    """

    def __init__(self, timeout: float = 1.0) -> None:
        self.timeout = timeout
        self._session: aiohttp.ClientSession | None = None

    def __repr__(self) -> str:
        return f"<HttpClient timeout={self.timeout}s {'open' if self._session else 'closed'}>"

    @property
    def session(self) -> aiohttp.ClientSession:
        """The pool, made at its first use in the running loop."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, force_close=False, keepalive_timeout=60),
                timeout=aiohttp.ClientTimeout(total=None),
                auto_decompress=False,
            )
            # aiohttp would send a lost idempotent request again by itself: an attempt that nobody counts.
            self._session._retry_connection = False  # noqa: SLF001 - there is no public switch
        return self._session

    async def request(
        self,
        method: str,
        url: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        attempt: int = 1,
        within: float | None = None,
    ) -> Answer:
        """One attempt in at most `within` s (default: `timeout`), numbered on the wire by `X-Attempt`.

        Raises `CallError`, also for a status of 400 or more.
        """
        sent = {"X-Attempt": str(attempt), **(headers or {})}
        # As a file it is sent piece by piece; at once it would hold up everything else.
        data = io.BytesIO(body) if body and len(body) > LARGE else body
        with mapped(f"{method} {url}"):
            async with (
                asyncio.timeout(within or self.timeout),
                self.session.request(
                    method, url, data=data, headers=sent, allow_redirects=False
                ) as response,
            ):
                content = await response.read()
        if response.status >= BAD:
            raise status_error(response.status, f"{method} {url}: {content[:200]!r}")
        return Answer(response.status, response.headers, content)

    async def close(self) -> None:
        """Idempotent."""
        if self._session is not None:
            await self._session.close()
            self._session = None


class ResilientClient:
    """Calls to one other node: `breaker(retry(request))`."""

    def __init__(
        self, client: HttpClient, breaker: Breaker, settings: RetrySettings, chance: random.Random
    ) -> None:
        self.client = client
        self.breaker = breaker
        self.settings = settings
        self._chance = chance

    def __repr__(self) -> str:
        return f"<ResilientClient {self.breaker!r}>"

    async def request(
        self,
        method: str,
        url: str,
        fallback: Callable[[CallError | None], T],
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer | T:
        """The answer, or the fallback's when all attempts failed or the breaker lets no call pass."""

        async def once(attempt: int) -> Answer:
            return await self.client.request(
                method, url, body=body, headers=headers, attempt=attempt
            )

        async def operation() -> Answer | T:
            return await retry(once, self.settings, self._chance)

        return await self.breaker.call(operation, fallback)
