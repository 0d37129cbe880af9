"""What a PoP does about hot flags: it tells its data path and all PoPs of them, and makes ready for those of others."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, NoReturn, Protocol

from reference_impl.pop.popularity.counting import Orders, Report, Reports
from reference_impl.pop.popularity.detector import Detector
from reference_impl.propagation.types import Prewarm

if TYPE_CHECKING:
    from collections.abc import Callable

    from reference_impl.pop.popularity.counting import Popularity
    from reference_impl.pop.popularity.detector import Name

KEPT: Final = 100  # prewarmed flags that a PoP tells of, and that may wait to be


class Memory(Protocol):
    """The PoP's flags."""

    def holds(self, org: str, key: str) -> bool:
        """Whether it is in memory, ready to be evaluated."""
        ...

    async def warm(self, org: str, key: str) -> bool:
        """Have it so, from the origin if need be; false where that can't be. Bounded in time; never raises."""
        ...


class Watch:
    """`name` makes the ids of its prewarms its own; `tell` tells all PoPs, this one too, which then calls `take`."""

    def __init__(
        self,
        node: str,
        name: str,
        popularity: Popularity,
        memory: Memory,
        tell: Callable[[Prewarm], None],
    ) -> None:
        self.detector = Detector(popularity.settings)
        self.prewarmed: OrderedDict[Name, int] = OrderedDict()  # how often each was
        self.sent = 0
        self.reports = Reports(popularity.settings.window)
        self._node, self._name = node, name
        self._popularity = popularity
        self._memory = memory
        self._tell = tell
        self._waiting: asyncio.Queue[Prewarm] = asyncio.Queue(KEPT)

    def __repr__(self) -> str:
        return f"<Watch of {self._node}, {self.detector!r}, {len(self.prewarmed)} prewarmed>"

    async def run(self) -> NoReturn:
        """Judge each window, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._popularity.settings.window)
            self._judge(loop.time())

    def _judge(self, now: float) -> None:
        rates = self.reports.rates(now)
        for name, rate in self._popularity.take().items():
            rates[name] = rates.get(name, 0.0) + rate
        known = {name: rate for name, rate in rates.items() if self._memory.holds(*name)}
        heated, _ = self.detector.judge(now, known)
        self._popularity.set_hot(frozenset(self.detector.hot))
        for org, key in heated:
            self.sent += 1
            self._tell(Prewarm(f"{self._name}:{self.sent}", org, key, self._node))

    def take(self, prewarm: Prewarm) -> None:
        """A flag is hot at some PoP."""
        if not self._waiting.full():
            self._waiting.put_nowait(prewarm)

    async def make_ready(self) -> NoReturn:
        """For the flags that were told of, one after the other, until cancelled."""
        while True:
            prewarm = await self._waiting.get()
            name = (prewarm.org, prewarm.key)
            if await self._memory.warm(*name):
                self.prewarmed[name] = self.prewarmed.get(name, 0) + 1
                self.prewarmed.move_to_end(name)
                if len(self.prewarmed) > KEPT:
                    self.prewarmed.popitem(last=False)

    def orders(self, report: Report) -> Orders:
        """What a worker is told in return for its report."""
        self.reports.take(report, asyncio.get_running_loop().time())
        return Orders(list(self._popularity.hot), list(self.prewarmed))
