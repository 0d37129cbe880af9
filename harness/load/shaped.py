"""A shape as locust wants it. Only for locust's own processes."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, ClassVar

from locust import LoadTestShape

from harness.errors import SquallError
from harness.load.options import shape_of

if TYPE_CHECKING:
    from harness.load.shape import Shape

SPAWN = 100.0  # users per second: the shape itself says how fast they become more


def check(environment: Any, **_: Any) -> None:
    """Of locust's event `init`: a shape that can't be is said before anything starts, and ends it with exit code 2."""
    try:
        shape_of(environment.parsed_options.shape)
    except SquallError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


class Shaped(LoadTestShape):
    """Asked once a second how many users there must be. By hand the command line says the shape and the most users."""

    use_common_options: ClassVar[bool] = True  # -u is the most users that there are
    shape: Shape | None = None
    users = 0
    spawn = 0.0

    def tick(self) -> tuple[int, float] | None:
        if self.shape is None:
            options: Any = self.runner.environment.parsed_options  # type: ignore[union-attr]
            self.shape = shape_of(options.shape)
            self.users = int(options.num_users or 1)
            self.spawn = SPAWN
        t: float = self.get_run_time()  # type: ignore[no-untyped-call]
        users = self.shape.users(t, self.users)
        return None if users is None else (users, self.spawn)
