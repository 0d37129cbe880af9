"""What every role of the platform is, and what it may use of the world around it."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from reference_impl.config import NodeConfig


@dataclass(frozen=True, slots=True)
class Env:
    """The world around a role. Time comes from the running loop alone; this is the rest.

    `random`: the only source of chance. `wall_ns`: Unix time in ns, for a change's `at` only.
    `boot`: an id of this start, to tell a restarted process from the one before.
    """

    random: random.Random
    wall_ns: Callable[[], int]
    boot: str


class Role(Protocol):
    """One node's program. Constructing it opens nothing; both calls are made once, in the loop that runs it."""

    def __init__(self, config: NodeConfig, env: Env) -> None: ...

    async def start(self) -> None:
        """Listen at `config.listen` and return as soon as `GET /health` answers; never wait for other nodes."""

    async def stop(self) -> None:
        """Stop accepting, end streams, close connections: within 2 s."""
