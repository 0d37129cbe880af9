"""How often each flag is evaluated: counted by each process of a PoP, summed by one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import msgspec

from reference_impl.pop.popularity.sketch import Frequent

if TYPE_CHECKING:
    from collections.abc import Callable

    from reference_impl.pop.popularity.detector import HotSettings, Name

# A worker tells of no flag below this share of the threshold: of N workers' sum at most N % of it is missing.
TOLD: Final = 0.01
KEPT: Final = 3  # windows for which a worker's last report counts


class Popularity:
    """What the data path of one process counts, and which flags it takes for hot. `changed` is called when those change."""

    def __init__(self, settings: HotSettings) -> None:
        self.settings = settings
        self.hot: frozenset[Name] = frozenset()
        self.changed: Callable[[], None] = _nothing
        self._counts: Frequent[Name] = Frequent(settings.counters)
        self.count = self._counts.add  # one evaluation
        self._since: float | None = None

    def __repr__(self) -> str:
        return f"<Popularity {len(self.hot)} hot, {self._counts!r}>"

    def take(self) -> dict[Name, float]:
        """The rates since it was last asked, in evaluations/s, of the flags that matter; then it counts anew."""
        now = asyncio.get_running_loop().time()
        since, self._since = self._since, now
        found = self._counts.counts
        self._counts.clear()
        if since is None or now <= since:
            return {}
        least = self.settings.threshold * TOLD * (now - since)
        return {name: n / (now - since) for name, n in found.items() if n >= least}

    def set_hot(self, names: frozenset[Name]) -> None:
        """These are hot from now on, and no others."""
        if names != self.hot:
            self.hot = names
            self.changed()


class Report(msgspec.Struct, frozen=True):
    """What a worker tells its lead: its rates, as (organisation, key, evaluations/s)."""

    worker: int
    rates: list[tuple[str, str, float]]


class Orders(msgspec.Struct, frozen=True):
    """What the lead answers: the flags that are hot, and those that were prewarmed lately, as (organisation, key)."""

    hot: list[tuple[str, str]]
    warm: list[tuple[str, str]]


class Reports:
    """The last report of each worker. Their windows don't end together, so it is rates that are summed, not counts."""

    def __init__(self, window: float) -> None:
        self._keep = KEPT * window
        self._last: dict[int, tuple[float, dict[Name, float]]] = {}

    def __repr__(self) -> str:
        return f"<Reports of {len(self._last)} workers>"

    def take(self, report: Report, now: float) -> None:
        self._last[report.worker] = (now, {(org, key): rate for org, key, rate in report.rates})

    def rates(self, now: float) -> dict[Name, float]:
        """The sum over all workers that told something lately; `now` in s of the loop's clock."""
        total: dict[Name, float] = {}
        for at, rates in self._last.values():
            if now - at <= self._keep:
                for name, rate in rates.items():
                    total[name] = total.get(name, 0.0) + rate
        return total


def _nothing() -> None: ...
