"""A shape as locust wants it. Only for locust's own processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from locust import LoadTestShape

from harness.load.options import shape_of

if TYPE_CHECKING:
    from harness.load.shape import Shape

MOST_SPAWN = 1000.0  # users per second


class Shaped(LoadTestShape):
    """Asked once a second how many users there must be. By hand the command line says the shape and the most users."""

    shape: Shape | None = None
    users = 0
    spawn = 0.0

    def tick(self) -> tuple[int, float] | None:
        if self.shape is None:
            options: Any = self.runner.environment.parsed_options  # type: ignore[union-attr]
            self.shape = shape_of(options.shape)
            self.users = int(options.num_users or 1)
            self.spawn = float(options.spawn_rate or MOST_SPAWN)
        t: float = self.get_run_time()  # type: ignore[no-untyped-call]
        users = self.shape.users(t, self.users)
        return None if users is None else (users, min(max(self.spawn, 1.0), MOST_SPAWN))
