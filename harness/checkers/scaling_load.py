"""The load that clients made on a node, and which of its workers answered."""

from __future__ import annotations

from bisect import bisect_right
from functools import cached_property
from typing import TYPE_CHECKING

from harness.units import NS, to_s

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.history_io import History, Request

GRID = NS // 10  # how often the load is looked at


class Load:
    """What clients asked `node`, and who of it answered; what another node answered is not its load."""

    def __init__(self, history: History, probes: tuple[str, ...], node: str, window: int) -> None:
        self.window = window
        self._requests = [
            request
            for name in probes
            if name in history.probes
            for request in history.probes[name].requests
            if request.complete is None or request.complete.node in ("", node)
        ]
        self.sent = sorted(request.invoke.t for request in self._requests)

    def __repr__(self) -> str:
        return f"<Load {len(self.sent)} requests>"

    def rate(self, t: int) -> float:
        """Requests/s in the window that ends at `t`."""
        return self.count(t - self.window, t) / to_s(self.window)

    def count(self, start: int, end: int) -> int:
        """Requests that were sent after `start`, until `end`."""
        return bisect_right(self.sent, end) - bisect_right(self.sent, start)

    def rates(self, start: int, end: int) -> list[float]:
        """Of windows that end between the two."""
        return [self.rate(t) for t in range(start, end + 1, GRID // 2)]

    @cached_property
    def answers(self) -> list[tuple[int, int, int]]:
        """(answered, asked, worker), in the order of answers."""
        return sorted(found for request in self._requests for found in _answered(request))


def _answered(request: Request) -> Iterator[tuple[int, int, int]]:
    done = request.complete
    if done is not None and done.outcome == "ok":
        worker = done.metadata.get("worker")
        if isinstance(worker, int):
            yield done.t, request.invoke.t, worker
