"""The lead's part in scaling: sees what its workers do, decides, and lets workers come and go."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NoReturn

from reference_impl.pop.autoscale import Autoscaler
from reference_impl.pop.status import NS, ScalingMove, ScalingStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from reference_impl.pop.autoscale import AutoscaleSettings, ScalingStep
    from reference_impl.pop.shared.doors import Doors
    from reference_impl.pop.shared.headcount import Headcount

TICK: Final = 0.05  # s; a step is late by as much


class Scaling:
    """`fork`: asks the parent for the workers that are wanted and not there."""

    def __init__(
        self,
        policy: AutoscaleSettings,
        headcount: Headcount,
        doors: Doors,
        fork: Callable[[], None],
    ) -> None:
        self.autoscaler = Autoscaler(policy, headcount.wanted)
        self.headcount = headcount
        self._doors = doors
        self._fork = fork

    def __repr__(self) -> str:
        return f"<Scaling {self.autoscaler!r} {self.headcount!r}>"

    async def run(self) -> NoReturn:
        """Until cancelled."""
        while True:
            step = self.autoscaler.observe(_now(), self.headcount.requests)
            self.follow(step)
            self._open()
            await asyncio.sleep(TICK)

    def boost(self, more: int) -> None:
        """See `Autoscaler.boost`."""
        self.follow(self.autoscaler.boost(_now(), more))

    def shed(self, share: float) -> None:
        """Let that share of the kept connections be closed, each with its next answer."""
        self.headcount.shed(share)

    def follow(self, step: ScalingStep | None) -> None:
        """Nobody is sent to a worker any more before it is told to leave."""
        if step is None:
            return
        if step.after < self.headcount.reachable:
            self._doors.open(step.after)
            self.headcount.reachable = step.after
        self.headcount.wanted = step.after
        if step.after > step.before:
            self._fork()

    def _open(self) -> None:
        """Let connections come to new workers as soon as they accept them."""
        ready = self.headcount.reachable
        while ready < self.headcount.wanted and self.headcount.serving(ready):
            ready += 1
        if ready > self.headcount.reachable:
            self._doors.open(ready)
            self.headcount.reachable = ready

    def status(self) -> ScalingStatus:
        """What `GET /status` tells of it."""
        decider = self.autoscaler
        return ScalingStatus(
            workers=decider.workers,
            serving=self.headcount.reachable,
            requests=self.headcount.requests,
            rate=decider.rate,
            total=decider.total,
            capacity=decider.workers * decider.policy.target,
            steps=[
                ScalingMove(
                    each.n, round(each.at * NS), each.before, each.after, each.rate, each.reason
                )
                for each in decider.steps
            ],
        )


def _now() -> float:
    return asyncio.get_running_loop().time()
