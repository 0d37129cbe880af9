"""How a subscriber reaches upstreams: the interface, and HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

from reference_impl.config import Upstream
from reference_impl.propagation.sse import CONTENT_TYPE, ROLE_HEADER
from reference_impl.resilience.errors import INVALID, CallError, mapped, status_error
from reference_impl.resilience.http import HttpClient

HTTP_OK = 200


class StreamClient(Protocol):
    def open(
        self, upstream: Upstream, last_id: int | None, within: float
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Open a stream in at most `within` s; gives its bytes as they come. Raises `CallError` throughout."""
        ...

    async def ready(self, upstream: Upstream, within: float) -> bool:
        """Would it serve a stream now? Answers in at most `within` s."""
        ...


class HttpStreamClient:
    """`GET /stream` and `GET /ready`. `role` is what the subscriber says that it is."""

    def __init__(self, http: HttpClient, role: str = "") -> None:
        self._http = http
        self._role = role

    def __repr__(self) -> str:
        return f"<HttpStreamClient over {self._http!r}>"

    @asynccontextmanager
    async def open(
        self, upstream: Upstream, last_id: int | None, within: float
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """See `StreamClient.open`."""
        headers = {"Accept": CONTENT_TYPE}
        if self._role:
            headers[ROLE_HEADER] = self._role
        if last_id is not None:
            headers["Last-Event-ID"] = str(last_id)
        with mapped(f"stream of {upstream}"):
            request = self._http.session.get(f"{upstream.url}/stream", headers=headers)
            async with asyncio.timeout(within):
                response = await request
            try:
                if response.status != HTTP_OK:
                    raise status_error(response.status, f"stream of {upstream}")
                if response.content_type != CONTENT_TYPE:
                    raise CallError(INVALID, f"stream of {upstream} is {response.content_type}")
                yield response.content.iter_any()
            finally:
                response.close()

    async def ready(self, upstream: Upstream, within: float) -> bool:
        """See `StreamClient.ready`."""
        try:
            await self._http.request("GET", f"{upstream.url}/ready", within=within)
        except CallError:
            return False
        return True
