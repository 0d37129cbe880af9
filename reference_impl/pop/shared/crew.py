"""A PoP as several processes: `settings: {workers: N}` with N > 1."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from reference_impl.config import NodeConfig
from reference_impl.crew import Crew
from reference_impl.pop.http import bind
from reference_impl.pop.role import PopSettings
from reference_impl.pop.shared.arena import Arena
from reference_impl.pop.shared.lead import Lead
from reference_impl.pop.shared.passing import ToLead, lead_listener
from reference_impl.pop.shared.worker import Worker

if TYPE_CHECKING:
    from reference_impl.role import Env


BACKLOG: Final = 1024


def pop_crew(config: NodeConfig, env: Env, worker: type[Worker] = Worker) -> Crew | None:
    """None for a PoP of one process.

    Each worker has a socket of its own at the node's address (SO_REUSEPORT). They are bound here and stay open here, so
    that connections which a crashed worker had not accepted yet wait for the one that replaces it.
    """
    settings = config.settings_as(PopSettings)
    if settings.workers == 1:
        return None
    arena = Arena(settings.store_limit)
    inside = lead_listener()
    to_lead = ToLead(inside.getsockname())
    host, port = config.listen.host, config.listen.port
    first = bind(host, port, shared=True)
    port = first.getsockname()[1]
    doors = [first, *(bind(host, port, shared=True) for _ in range(settings.workers - 1))]
    for door in doors:
        door.listen(BACKLOG)

    def make_worker(index: int) -> Worker:
        own = replace(env, random=random.Random(f"{config.name}:{config.seed}:{index}"))
        return worker(config, own, index, arena, doors[index], to_lead)

    return Crew(
        lead=lambda: Lead(config, env, arena, inside),
        worker=make_worker,
        workers=settings.workers,
        left=lambda index: arena.say(index + 1, 0),
    )
