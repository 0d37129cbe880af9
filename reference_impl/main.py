"""Start one node: `main([path of its node file])`. SIGTERM or SIGINT asks for a graceful end of at most 2 s.

Importing this makes no loop, thread or socket, so a process that has imported it can be forked for each node.
A variant of the platform is `run(config, roles={**ROLES, "pop": Variant})`.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import resource
import secrets
import signal
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import uvloop

from reference_impl.alerts.role import AlertSink
from reference_impl.anycast.role import Anycast
from reference_impl.api.role import Api
from reference_impl.archive.role import Archiver
from reference_impl.backup.restorer import Restorer
from reference_impl.backup.role import BackupNode
from reference_impl.balancer.role import Balancer
from reference_impl.capacity.role import Advisor
from reference_impl.config import ConfigError, NodeConfig, load
from reference_impl.crew import Crew, Keeper
from reference_impl.database.role import Database
from reference_impl.dns.role import Dns
from reference_impl.failover.role import Failover
from reference_impl.hotspot.role import HotSpotController
from reference_impl.hub.role import Hub
from reference_impl.objectstore.role import Objects
from reference_impl.pop.shared.crew import pop_crew
from reference_impl.pop.tiered.role import make_pop
from reference_impl.role import Env, Role
from reference_impl.shards.merger import Merger
from reference_impl.shards.role import Mover
from reference_impl.stream.role import StreamServer
from reference_impl.witness.role import Witness

RoleFactory = Callable[[NodeConfig, Env], Role]
CrewFactory = Callable[[NodeConfig, Env], Crew | None]
STOP_WITHIN = 2.0  # s

ROLES: Mapping[str, RoleFactory] = {
    "advisor": Advisor,
    "alerts": AlertSink,
    "anycast": Anycast,
    "api": Api,
    "archiver": Archiver,
    "backup": BackupNode,
    "balancer": Balancer,
    "database": Database,
    "dns": Dns,
    "failover": Failover,
    "hotspot": HotSpotController,
    "hub": Hub,
    "merger": Merger,
    "mover": Mover,
    "objects": Objects,
    "pop": make_pop,
    "restorer": Restorer,
    "stream": StreamServer,
    "witness": Witness,
}

# Roles that can be several processes; None from its factory: this node is one.
CREWS: Mapping[str, CrewFactory] = {"pop": pop_crew}


def main(
    argv: list[str],
    roles: Mapping[str, RoleFactory] = ROLES,
    crews: Mapping[str, CrewFactory] = CREWS,
) -> None:
    """Run the node of the file `argv[0]` until it is told to stop. Ends the process with 2 on a bad file."""
    if len(argv) != 1:
        print("usage: python -m reference_impl.main NODE.json", file=sys.stderr)
        raise SystemExit(2)
    try:
        run(load(argv[0]), roles, crews)
    except ConfigError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None


def run(
    config: NodeConfig,
    roles: Mapping[str, RoleFactory] = ROLES,
    crews: Mapping[str, CrewFactory] = CREWS,
) -> None:
    """Run one node in this thread until SIGTERM. Raises `ConfigError`, and `SystemExit` for a node of several processes."""
    factory = roles.get(config.role)
    if factory is None:
        raise ConfigError(
            f"{config.name}: unknown role {config.role!r}; known: {', '.join(sorted(roles))}"
        )
    boot = secrets.token_hex(8)
    # The name is part of the seed, or all nodes of a run would draw the same jitter.
    env = Env(random.Random(f"{config.name}:{config.seed}"), time.time_ns, boot)
    crew = crews[config.role](config, env) if config.role in crews else None
    if crew is not None:
        raise SystemExit(Keeper(crew, run_role).run())
    run_role(lambda: factory(config, env))


def run_role(make: Callable[[], Role]) -> None:
    """Run a role in this thread until SIGTERM, with as many connections as the system allows."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    uvloop.run(serve(make))


async def serve(make: Callable[[], Role]) -> None:
    """Start the role, wait for a signal, stop it within `STOP_WITHIN`.

    A background task of the role that dies of a bug ends the process too, with 1.
    """
    role = make()
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    died = False

    def report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        nonlocal died
        loop.default_exception_handler(context)
        if "role_task" in context:  # half a node would be worse than none
            died = True
            stopping.set()

    loop.set_exception_handler(report)
    await role.start()
    print(f"serving {role!r}", flush=True)
    await stopping.wait()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(role.stop(), STOP_WITHIN)
    if died:
        raise SystemExit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
