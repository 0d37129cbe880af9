"""PREWARM: a PoP where a flag became hot tells all others, over the stream's own ways ("Hot Spot Mitigation").

It goes up over `POST /prewarm`, from a PoP to the nodes that it may follow, from a hub to all of its stream servers, and
from those to each other (links with use "peer"); and down as an event of the stream, beside its log: it has no position,
and is not kept for who is away. Each node passes each on once.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, NoReturn

import msgspec

from reference_impl.propagation.types import Prewarm
from reference_impl.resilience.errors import CallError
from reference_impl.resilience.retry import RetrySettings, retry

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

    from reference_impl.config import Upstream
    from reference_impl.propagation.fanout import FanOut
    from reference_impl.resilience.http import HttpClient

_log = logging.getLogger(__name__)

REMEMBERED: Final = 1_000  # that are known again
WAITING: Final = 100  # that wait to be told on; above it none is taken
WITHIN: Final = 1.0  # s for one call
_RETRY: Final = RetrySettings()


def _nobody(_: Prewarm) -> None: ...


class Relay:
    """Passes prewarms on: down to the subscribers of `fanout`, and to `others`. `taken` is called with each, once."""

    def __init__(
        self,
        fanout: FanOut,
        others: Sequence[Upstream],
        http: HttpClient,
        chance: random.Random,
    ) -> None:
        self.taken: Callable[[Prewarm], None] = _nobody
        self.passed = 0  # prewarms that this node knew as new
        self.failed = 0  # calls that had no success, after all attempts
        self._fanout = fanout
        self._others = tuple(others)
        self._http = http
        self._chance = chance
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._waiting: asyncio.Queue[Prewarm] = asyncio.Queue(WAITING)

    def __repr__(self) -> str:
        return f"<Relay {self.passed} passed on, {self._waiting.qsize()} waiting>"

    def told(self, prewarm: Prewarm) -> None:
        """One that came down, with the stream."""
        self._take(prewarm)

    def tell(self, prewarm: Prewarm) -> None:
        """One that came up, or begins here: also the others are told."""
        if self._take(prewarm) and not self._waiting.full():
            self._waiting.put_nowait(prewarm)

    async def run(self) -> NoReturn:
        """Tell the others, until cancelled."""
        while True:
            prewarm = await self._waiting.get()
            await asyncio.gather(*(self._send(other, prewarm) for other in self._others))

    def _take(self, prewarm: Prewarm) -> bool:
        if prewarm.id in self._seen:
            return False
        self._seen[prewarm.id] = None
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        self.passed += 1
        self._fanout.announce(prewarm)
        self.taken(prewarm)
        return True

    async def _send(self, other: Upstream, prewarm: Prewarm) -> None:
        body = msgspec.json.encode(prewarm)

        async def once(attempt: int) -> object:
            return await self._http.request(
                "POST", f"{other.url}/prewarm", body=body, attempt=attempt, within=WITHIN
            )

        try:
            await retry(once, _RETRY, self._chance)
        except CallError as error:
            self.failed += 1
            _log.warning("%s: %s was not told: %s", prewarm.id, other, error)
