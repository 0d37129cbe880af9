"""The circuit breaker ("Circuit Breaker Pattern").

Where the specification is silent, decided here:

* `failure_count` counts consecutive failures: a success while CLOSED sets it to 0. Literally, five failures in a
  year would open the breaker.
* `success_count` is set to 0 on entering HALF_OPEN, or an earlier trial's successes would close it too soon.
* One trial at a time in HALF_OPEN; other calls get the fallback, so a server that comes back is not flooded.
* A failed trial opens it again for a full timeout.
* A call that began before the last transition no longer counts when it ends: it tells of the time before.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, TypeVar

import msgspec

from reference_impl.resilience.errors import CallError

T = TypeVar("T")
KEPT = 100  # transitions


class State(StrEnum):
    CLOSED = "CLOSED"
    OPEN = "OPEN"
    HALF_OPEN = "HALF_OPEN"


class BreakerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`timeout` in s: how long it stays OPEN after its last failure."""

    failure_threshold: Annotated[int, msgspec.Meta(ge=1)] = 5
    success_threshold: Annotated[int, msgspec.Meta(ge=1)] = 3
    timeout: Annotated[float, msgspec.Meta(gt=0)] = 30.0


@dataclass(frozen=True, slots=True)
class Transition:
    """Entered `state` at `at` s on the loop's clock."""

    state: State
    at: float


class Breaker:
    """Stands in front of one other node. Only `CallError` counts as a failure."""

    def __init__(self, name: str, settings: BreakerSettings) -> None:
        self.name = name
        self.settings = settings
        self.state = State.CLOSED
        self.failure_count = 0
        self.success_count = 0
        self.last_failure_time = 0.0
        self.last_error: CallError | None = None
        self.transitions: deque[Transition] = deque(maxlen=KEPT)
        self._era = 0  # one more at each transition
        self._trial = False  # a trial of HALF_OPEN is under way

    def __repr__(self) -> str:
        return (
            f"<Breaker {self.name} {self.state} failures={self.failure_count}"
            f" successes={self.success_count}>"
        )

    async def call(
        self, operation: Callable[[], Awaitable[T]], fallback: Callable[[CallError | None], T]
    ) -> T:
        """The operation's result; or `fallback(error)`, where `error` is None when no call was made."""
        if not self._admits():
            return fallback(None)
        era, is_trial = self._era, self.state is State.HALF_OPEN
        self._trial = is_trial
        try:
            result = await operation()
        except CallError as error:
            self.last_error = error
            if era == self._era:
                self._failed()
            return fallback(error)
        finally:
            if is_trial and era == self._era:
                self._trial = False
        if era == self._era:
            self._succeeded()
        return result

    def _admits(self) -> bool:
        if (
            self.state is State.OPEN
            and self._now() - self.last_failure_time > self.settings.timeout
        ):
            self._enter(State.HALF_OPEN)
            self.success_count = 0
        if self.state is State.HALF_OPEN:
            return not self._trial
        return self.state is State.CLOSED

    def _failed(self) -> None:
        self.failure_count += 1
        self.last_failure_time = self._now()
        if self.state is State.HALF_OPEN or self.failure_count >= self.settings.failure_threshold:
            self._enter(State.OPEN)

    def _succeeded(self) -> None:
        if self.state is State.HALF_OPEN:
            self.success_count += 1
            if self.success_count < self.settings.success_threshold:
                return
            self._enter(State.CLOSED)
        self.failure_count = 0

    def _enter(self, state: State) -> None:
        self.state = state
        self._era += 1
        self._trial = False
        self.transitions.append(Transition(state, self._now()))

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
