"""How many workers a PoP should have, as a pure state machine ("Auto-scaling triggers", SCALING_POLICY).

One worker more where each has `up` of its target or more, one less where each has `down` or less, and no two such steps
within a cooldown. As `down` is less than half of `up`, a step never makes the opposite one due at the same load:
docs/decisions.md.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Annotated, Final, Literal

import msgspec

from reference_impl.config import Positive

KEPT_STEPS: Final = 20  # `n` shows a reader that earlier ones are gone
MOST: Final = 63  # workers; a shared store has one more reader, the lead

Share = Annotated[float, msgspec.Meta(gt=0, le=1)]
Reason = Literal["load", "hot spot"]


class AutoscaleSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """SCALING_POLICY: `target` in requests/s per worker; `up` and `down` as shares of it; `cooldown` in s.

    The specification is silent on the rest. `window`: s over which the rate is taken. `minimum` and `maximum` workers.
    `leave_within`: s that a leaving worker's idle connections stay open. `control_port`: where the node takes orders.
    """

    target: Positive = 50_000.0
    up: Share = 0.8
    down: Share = 0.3
    cooldown: Positive = 60.0
    window: Positive = 10.0
    minimum: Annotated[int, msgspec.Meta(ge=1)] = 1
    maximum: Annotated[int, msgspec.Meta(ge=1, le=MOST)] = 16
    leave_within: Positive = 5.0
    control_port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 8081

    def __post_init__(self) -> None:
        if self.minimum > self.maximum:
            raise ValueError("minimum must not be more than maximum")
        if 2 * self.down >= self.up:
            raise ValueError(
                "down must be less than half of up, or one worker and two would take turns"
            )


@dataclass(frozen=True, slots=True)
class ScalingStep:
    """`n` counts from 1; `at` in s of the clock that `observe` was given; `rate`: requests/s per worker before it."""

    n: int
    at: float
    before: int
    after: int
    rate: float
    reason: Reason


class Autoscaler:
    """Decides from a count of requests that only grows. `workers`: how many there should be now."""

    def __init__(self, policy: AutoscaleSettings, workers: int) -> None:
        self.policy = policy
        self.workers = min(max(workers, policy.minimum), policy.maximum)
        self.total = 0.0  # requests/s, over the window
        self.steps: deque[ScalingStep] = deque(maxlen=KEPT_STEPS)
        self._samples: deque[tuple[float, int]] = deque()  # when, and how many until then
        self._made = 0

    def __repr__(self) -> str:
        return f"<Autoscaler {self.workers} workers, {self.rate:.0f} of {self.policy.target:.0f}/s each>"

    @property
    def rate(self) -> float:
        """Requests/s per worker, over the window."""
        return self.total / self.workers

    def observe(self, now: float, requests: int) -> ScalingStep | None:
        """`requests` were made until `now` (s); the step that is due by that, taken."""
        if not self._measure(now, requests) or self._cooling(now):
            return None
        policy = self.policy
        if self.rate >= policy.up * policy.target and self.workers < policy.maximum:
            return self._step(now, self.workers + 1, "load")
        if self.rate <= policy.down * policy.target and self.workers > policy.minimum:
            return self._step(now, self.workers - 1, "load")
        return None

    def boost(self, now: float, more: int) -> ScalingStep | None:
        """So many workers more at once, for a hot spot, as far as there may be; None where there may be none.

        It does not wait for a cooldown, and begins one.
        """
        wanted = min(self.workers + more, self.policy.maximum)
        return self._step(now, wanted, "hot spot") if wanted > self.workers else None

    def _measure(self, now: float, requests: int) -> bool:
        """Whether there is a whole window to speak of."""
        samples = self._samples
        samples.append((now, requests))
        while len(samples) > 1 and samples[1][0] <= now - self.policy.window:
            samples.popleft()
        since, before = samples[0]
        if since > now - self.policy.window:
            return False
        self.total = (requests - before) / (now - since)
        return True

    def _cooling(self, now: float) -> bool:
        return bool(self.steps) and now < self.steps[-1].at + self.policy.cooldown

    def _step(self, now: float, after: int, reason: Reason) -> ScalingStep:
        self._made += 1
        step = ScalingStep(self._made, now, self.workers, after, self.rate, reason)
        self.steps.append(step)
        self.workers = after
        return step
