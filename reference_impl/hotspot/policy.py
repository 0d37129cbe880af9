"""What is done about a PoP that gets more than its share, as a pure state machine (HandleGeographicHotSpot).

First more workers, at once; where the load is critical all the same, a lower anycast weight, so that the rest of its users
reach the next nearest PoPs; and weight 1 again when the load has fallen. docs/decisions.md has the thresholds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from reference_impl.config import Positive

if TYPE_CHECKING:
    from collections.abc import Mapping

Share = Annotated[float, msgspec.Meta(gt=0, le=1)]
SLIGHT = 0.01  # a weight that would change by less stays


class HotSpotSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`hot`, `critical`, `back`, `aim`: loads, as shares of what a PoP's workers can do. Times in s.

    A PoP is hot at `hot` and with `disproportion` times an equal share of all traffic: it gets `more` workers, and so again
    after `again`. `sustain` at `critical`, and its weight is lowered so that `aim` is left, to no less than `least`, and no
    more is sent to others than keeps each of those `nearby` (by PoP; all where none is named) below `hot`. At `back`, had it
    all its traffic, its weight is 1. `hold` between changes of a weight.
    """

    more: Annotated[int, msgspec.Meta(ge=1)] = 5
    hot: Positive = 0.9
    critical: Positive = 1.0
    back: Positive = 0.6
    aim: Positive = 0.8
    disproportion: Annotated[float, msgspec.Meta(ge=1)] = 1.5
    again: Positive = 60.0
    sustain: Positive = 10.0
    hold: Positive = 30.0
    least: Share = 0.1
    nearby: dict[str, list[str]] = {}

    def __post_init__(self) -> None:
        if not self.back < self.aim < self.critical:
            raise ValueError("back, aim and critical must rise, or a weight would go to and fro")


@dataclass(frozen=True, slots=True)
class Seen:
    """A PoP as it says of itself: `rate` that it gets and `capacity` that its workers are to bear, in requests/s."""

    rate: float
    capacity: float


@dataclass(frozen=True, slots=True)
class Action:
    """What is done now: so many workers more, or another weight.

    `shed`: the share of its kept connections that must be drawn for anew, so that the weight's share of all stays.
    """

    pop: str
    what: Literal["workers", "weight"]
    value: float
    shed: float = 0.0


@dataclass(slots=True)
class _Pop:
    weight: float = 1.0
    changed: float = float("-inf")  # when its weight was, s
    boosted: float = float("-inf")
    critical: float | None = None  # since when it is


class HotSpots:
    """Decides from what the PoPs say. Those that say nothing are left as they are."""

    def __init__(self, settings: HotSpotSettings) -> None:
        self.settings = settings
        self._pops: dict[str, _Pop] = {}

    def __repr__(self) -> str:
        return f"<HotSpots {self.weights}>"

    @property
    def weights(self) -> dict[str, float]:
        """The anycast weight of each PoP that was seen."""
        return {name: pop.weight for name, pop in self._pops.items()}

    def observe(self, now: float, seen: Mapping[str, Seen]) -> list[Action]:
        """What is to be done now (s); it counts as done."""
        actions = []
        for name in seen:
            pop = self._pops.setdefault(name, _Pop())
            if self._hot(name, seen) and now >= pop.boosted + self.settings.again:
                pop.boosted = now
                actions.append(Action(name, "workers", self.settings.more))
                continue  # what they bear is seen the next time
            weight = self._weight(now, name, seen)
            if abs(weight - pop.weight) >= SLIGHT and now >= pop.changed + self.settings.hold:
                actions.append(Action(name, "weight", weight, _shed(pop.weight, weight)))
                pop.weight, pop.changed = weight, now
        return actions

    def _demand(self, name: str, one: Seen) -> float:
        """What it would get with weight 1."""
        return one.rate / self._pops[name].weight

    def _hot(self, name: str, seen: Mapping[str, Seen]) -> bool:
        one, settings = seen[name], self.settings
        return one.rate >= settings.hot * one.capacity and self._too_much(name, seen)

    def _too_much(self, name: str, seen: Mapping[str, Seen]) -> bool:
        """Whether it has more than its share of all traffic; of one PoP alone nobody can say."""
        total = sum(each.rate for each in seen.values())
        fair = total / len(seen)
        return (
            len(seen) > 1 and self._demand(name, seen[name]) >= self.settings.disproportion * fair
        )

    def _weight(self, now: float, name: str, seen: Mapping[str, Seen]) -> float:
        settings, pop, one = self.settings, self._pops[name], seen[name]
        demand = self._demand(name, one)
        if one.rate < settings.critical * one.capacity or not self._too_much(name, seen):
            pop.critical = None
            return 1.0 if demand <= settings.back * one.capacity else pop.weight
        if pop.critical is None:
            pop.critical = now
        if now < pop.critical + settings.sustain:
            return pop.weight
        # What is moved so far is in the others' rates; where it goes is anycast's to say, so it must fit everywhere.
        spare = min(self._room(seen[each]) for each in self._near(name, seen)) + demand - one.rate
        wanted = max(settings.aim * one.capacity / demand, 1 - spare / demand, settings.least)
        return min(pop.weight, math.ceil(wanted * 100) / 100)

    def _near(self, name: str, seen: Mapping[str, Seen]) -> list[str]:
        """Where its users may come to."""
        others = [each for each in seen if each != name]
        nearby = self.settings.nearby.get(name, [])
        return [each for each in others if each in nearby] or others

    def _room(self, other: Seen) -> float:
        return max(0.0, self.settings.hot * other.capacity - other.rate)


def _shed(before: float, after: float) -> float:
    """Of those that are drawn for anew `after` stay; `after / before` of all are to."""
    return min(1.0, (1 - after / before) / (1 - after)) if after < before else 0.0
