"""Whether a dependency works, judged from periodic checks, and the fixed grid on which they run."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CONNECTION_REFUSED: Final = "CONNECTION_REFUSED"


class Check:
    """One dependency: down after `allowed` failures in a row, or at once when refused; up again after one success.

    Nobody listening is certain; a timeout can be a hiccup, so one of those is forgiven. Unknown counts as down.
    """

    def __init__(self, name: str, *, allowed: int = 2) -> None:
        self.name = name
        self.allowed = allowed
        self.ok = False
        self.failures = 0  # in a row
        self.error = ""  # class of the last failure; empty after a success

    def __repr__(self) -> str:
        state = "ok" if self.ok else "down"
        return (
            f"<Check {self.name} {state}, {self.failures} failures in a row, error {self.error!r}>"
        )

    def succeeded(self) -> None:
        self.ok, self.failures, self.error = True, 0, ""

    def failed(self, error: str) -> None:
        """`error` is the failure's class, e.g. "TIMEOUT"."""
        self.failures += 1
        self.error = error
        if error == CONNECTION_REFUSED or self.failures >= self.allowed:
            self.ok = False

    def lost(self, error: str) -> None:
        """Down now, without forgiving: a poll that failed after all its retries."""
        self.failures += 1
        self.error, self.ok = error, False


async def grid(interval: float, *, first: float | None = None) -> AsyncIterator[float]:
    """Wake at `first` (now if None), `first + interval`, …; yields the due time in s of the running loop's clock.

    The grid is fixed: slow work in between does not shift it. Points missed meanwhile are made up for by one, at once.
    """
    loop = asyncio.get_running_loop()
    due = loop.time() if first is None else first
    while True:
        await asyncio.sleep(max(0.0, due - loop.time()))
        yield due
        due += max(1, int((loop.time() - due) / interval)) * interval
