"""How load changes over a run: pure, so that locust's processes, scenarios and tests have the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from harness.units import Seconds

ZERO = Seconds(0.0)


@dataclass(frozen=True, slots=True)
class Shape:
    """`steady`; `ramp`: from `at` on up within `over`; `spike`: up at once at `at`, down after `lasts`; `soak`: up within `over`,
    there for `lasts`, down within `over`, over; `spot`: within `over` from `at` on, the share of the requests that comes from
    the client group `group` grows from `least` to `most`, while the number of users stays.

    `least` is the share of the users that there are before (`ramp`, `spike`). Where `lasts` is given, `steady`, `ramp` and
    `spot` end that long after they are there. Durations in s.
    """

    kind: Literal["steady", "ramp", "spike", "soak", "spot"] = "steady"
    at: Seconds = ZERO
    over: Seconds = ZERO
    lasts: Seconds = ZERO
    least: float = 0.1
    most: float = 0.8
    group: str = ""

    def __post_init__(self) -> None:
        if min(self.at, self.over, self.lasts) < 0:
            raise ValueError("at, over and lasts can't be negative")
        if not 0 <= self.least <= 1 or not 0 <= self.most <= 1:
            raise ValueError("least and most are shares, 0 to 1")
        if self.kind == "ramp" and not self.over:
            raise ValueError("a ramp needs `over`: how long it takes")
        if self.kind in ("spike", "soak") and not self.lasts:
            raise ValueError(f"a {self.kind} needs `lasts`: how long it stays")
        if (self.kind == "spot") != bool(self.group):
            raise ValueError("`group` names the client group of a spot, and only of a spot")

    def users(self, t: float, most: int) -> int | None:
        """How many of `most` users there must be, `t` s after the begin; None once it is over."""
        match self.kind:
            case "spike":
                return self._part(1.0 if self.at <= t < self.at + self.lasts else 0.0, most)
            case "soak":
                begin, end = self.at + self.over, self.at + self.over + self.lasts
                up, down = self._progress(t), (t - end) / self.over if self.over else 0.0
                if t >= end + self.over:
                    return None
                return round(most * (up if t < begin else 1.0 - max(0.0, down)))
        if self.lasts and t >= self.at + self.over + self.lasts:
            return None
        return self._part(self._progress(t), most) if self.kind == "ramp" else most

    def share(self, t: float) -> float:
        """Of a spot: the share of all requests that comes from its group, `t` s after the begin."""
        return self.least + (self.most - self.least) * self._progress(t)

    def _progress(self, t: float) -> float:
        """0 before `at`, 1 from `at` + `over` on."""
        if t < self.at:
            return 0.0
        return min(1.0, (t - self.at) / self.over) if self.over else 1.0

    def _part(self, progress: float, most: int) -> int:
        return round(most * (self.least + (1.0 - self.least) * progress))
