"""When a flag becomes hot, and when it is no longer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import msgspec

from reference_impl.config import Positive

if TYPE_CHECKING:
    from collections.abc import Mapping

Name = tuple[str, str]  # organisation and key


class HotSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Times in s, rates in evaluations/s of one PoP, all its workers together.

    `threshold`: what makes a flag hot. `cool`: below this share of it for `hold` s it is hot no longer. `window`: over which
    rates are counted, with `counters` for all keys. `ttl`: for how long clients and caches may keep a hot flag's answers;
    that much later, at most, they see a change.
    """

    threshold: Positive = 10_000.0
    cool: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.5
    hold: Positive = 10.0
    window: Positive = 1.0
    counters: Annotated[int, msgspec.Meta(ge=2)] = 2_048
    ttl: Annotated[int, msgspec.Meta(ge=1)] = 2


@dataclass(slots=True)
class Heat:
    """A hot period of a flag: its last rate, and when it was last too high to cool, in s of the loop's clock."""

    rate: float
    high: float


class Detector:
    """Judges windows of rates. Pure: it is told the time."""

    def __init__(self, settings: HotSettings) -> None:
        self.settings = settings
        self.hot: dict[Name, Heat] = {}

    def __repr__(self) -> str:
        return f"<Detector {len(self.hot)} hot, above {self.settings.threshold:g}/s>"

    def judge(self, now: float, rates: Mapping[Name, float]) -> tuple[list[Name], list[Name]]:
        """The flags that have become hot in a window that ends now, and those that no longer are."""
        settings = self.settings
        heated = [
            name
            for name, rate in rates.items()
            if rate >= settings.threshold and name not in self.hot
        ]
        for name in heated:
            self.hot[name] = Heat(rates[name], now)
        for name, heat in self.hot.items():
            heat.rate = rates.get(name, 0.0)
            if heat.rate >= settings.threshold * settings.cool:
                heat.high = now
        cooled = [name for name, heat in self.hot.items() if now - heat.high >= settings.hold]
        for name in cooled:
            del self.hot[name]
        return heated, cooled
