"""The steps by which a node said that its workers became more or fewer."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from harness.checkers.base import clock
from harness.history import Status
from harness.history_io import Window
from harness.verdict import Evidence

if TYPE_CHECKING:
    from harness.history_io import History


class _RawStep(msgspec.Struct, frozen=True):
    """As a node tells it; `at` in ns of the monotonic clock."""

    n: int
    at: int
    source: int = msgspec.field(name="from")
    to: int
    rate: float = 0.0
    reason: str = ""


class _Raw(msgspec.Struct, frozen=True):
    workers: int
    steps: list[_RawStep]


@dataclass(frozen=True, slots=True)
class Step:
    """`t` in ns since the history's origin. `hot`: it was made for a hot spot, not by the scaling policy."""

    t: int
    before: int
    after: int
    rate: float
    hot: bool

    def __str__(self) -> str:
        return f"{self.before} to {self.after} workers at {clock(self.t)}"

    @property
    def evidence(self) -> Evidence:
        why = "for a hot spot" if self.hot else f"at {self.rate:.1f}/s each, it says"
        return Evidence(self.t, f"{self.before} to {self.after} workers {why}")


@dataclass(frozen=True)
class Steps:
    """All steps in order. `watched`: from the node's first word to its last."""

    made: tuple[Step, ...]
    first: int  # workers before the first step
    watched: Window

    def workers(self, t: int) -> int:
        """How many were wanted at `t`."""
        at = bisect_right(self.made, t, key=lambda step: step.t)
        return self.made[at - 1].after if at else self.first

    def most(self, start: int, end: int) -> int:
        """The most that were wanted between the two."""
        inside = self.made[bisect_left(self.made, start, key=lambda step: step.t) :]
        return max([self.workers(start), *(step.after for step in inside if step.t <= end)])

    def next_after(self, t: int) -> int:
        """When the first step after `t` was made; the end of the watch where there was none."""
        at = bisect_right(self.made, t, key=lambda step: step.t)
        return self.made[at].t if at < len(self.made) else self.watched.end

    def last_before(self, t: int) -> int:
        """When the last step until `t` was made; long ago where there was none."""
        at = bisect_right(self.made, t, key=lambda step: step.t)
        return self.made[at - 1].t if at else -(1 << 62)


def told_by(history: History, node: str) -> tuple[Steps | None, str]:
    """The steps that `node` told in its status, or why nothing can be said of them."""
    told = [s for s in history.of(Status) if s.node == node and s.ok]
    raws: list[_Raw] = []
    for status in told:
        try:
            raws.append(msgspec.convert(status.data.get("scaling"), _Raw))
        except msgspec.ValidationError:
            return None, f"{node} does not tell how it scales"
    if not raws:
        return None, f"{node} was not asked for its status"
    if len({status.boot for status in told}) > 1:
        return None, f"{node} was restarted"
    by_number = {step.n: step for raw in raws for step in raw.steps}
    if sorted(by_number) != list(range(1, len(by_number) + 1)):
        return None, f"of the steps of {node} some were not seen"
    made = tuple(
        Step(
            step.at - history.header.origin,
            step.source,
            step.to,
            step.rate,
            step.reason == "hot spot",
        )
        for _, step in sorted(by_number.items())
    )
    first = made[0].before if made else raws[0].workers
    return Steps(made, first, Window(told[0].t, told[-1].t)), ""
