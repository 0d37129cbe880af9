"""How a secondary gets its zone: it asks the primary for all records again and again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NoReturn

import msgspec

from reference_impl.config import Upstream
from reference_impl.dns.records import Zone
from reference_impl.resilience.errors import INVALID, CallError
from reference_impl.resilience.http import HttpClient


class Follower:
    """`take(zone)` is called with each zone that the primary gives. `refresh` in s, from start to start."""

    def __init__(
        self,
        primaries: tuple[Upstream, ...],
        http: HttpClient,
        refresh: float,
        take: Callable[[Zone], None],
    ) -> None:
        self.refresh = refresh
        self.error: CallError | None = None
        self.upstream: str | None = None  # the node that answered last; None: none does
        self.heard: float | None = None  # the loop's time of the last answer, s
        self._primaries = primaries
        self._http = http
        self._take = take

    def __repr__(self) -> str:
        return f"<Follower of {self.upstream or self.error}>"

    async def run(self) -> NoReturn:
        """Follow until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            await self._once()
            await asyncio.sleep(max(0.0, began + self.refresh - loop.time()))

    async def _once(self) -> None:
        for primary in self._primaries:
            try:
                answer = await self._http.request("GET", f"{primary.url}/records")
                zone = msgspec.json.decode(answer.body, type=Zone)
            except CallError as error:
                self.error = error
            except msgspec.DecodeError as error:
                self.error = CallError(INVALID, str(error))
            else:
                self.upstream, self.error = primary.to, None
                self.heard = asyncio.get_running_loop().time()
                self._take(zone)
                return
        self.upstream = None
