"""A PoP as several processes: `settings: {workers: N}` with N > 1, or `autoscale`."""

from __future__ import annotations

import os
import random
import signal
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from reference_impl.config import ConfigError, NodeConfig
from reference_impl.crew import MORE, Crew
from reference_impl.pop.role import PopSettings
from reference_impl.pop.shared.arena import Arena
from reference_impl.pop.shared.doors import Doors
from reference_impl.pop.shared.headcount import Headcount
from reference_impl.pop.shared.lead import Lead
from reference_impl.pop.shared.passing import ToLead, lead_listener
from reference_impl.pop.shared.scaling import Scaling
from reference_impl.pop.shared.worker import Place, Worker

if TYPE_CHECKING:
    from reference_impl.role import Env


def pop_crew(config: NodeConfig, env: Env, worker: type[Worker] = Worker) -> Crew | None:
    """None for a PoP of one process. Raises `ConfigError` for workers and tiers at once.

    Each worker has a door of its own (`Doors`). They are bound here and stay open here, so that connections which a
    crashed worker had not accepted yet wait for the one that replaces it.
    """
    settings = config.settings_as(PopSettings)
    policy = settings.autoscale
    if settings.workers == 1 and policy is None:
        return None
    if settings.tiers is not None:
        raise ConfigError(
            f"{config.name}: settings of role pop: tiers are for one process, not {settings.workers} workers"
        )
    arena = Arena(settings.store_limit)
    inside = lead_listener()
    to_lead = ToLead(inside.getsockname())
    workers = settings.workers
    if policy is not None:
        workers = min(max(workers, policy.minimum), policy.maximum)
    host, port = config.listen.host, config.listen.port
    doors = Doors(host, port, policy.maximum, workers) if policy else Doors(host, port, workers)
    headcount = Headcount(workers)
    scaling = None
    if policy is not None:
        scaling = Scaling(policy, headcount, doors, partial(os.kill, os.getpid(), MORE))

    def make_worker(index: int) -> Worker:
        own = replace(env, random=random.Random(f"{config.name}:{config.seed}:{index}"))
        place = Place(index, doors.sockets[index], headcount, _end)
        return worker(config, own, place, arena, to_lead)

    def left(index: int) -> None:
        arena.say(index + 1, 0)
        if index >= headcount.reachable:  # else another takes its place, and its door stays open
            headcount.serve(index, yes=False)

    return Crew(
        lead=lambda: Lead(config, env, arena, inside, scaling),
        worker=make_worker,
        wanted=lambda: headcount.wanted,
        left=left,
    )


def _end() -> None:
    """End this process as from outside: in order."""
    signal.raise_signal(signal.SIGTERM)
