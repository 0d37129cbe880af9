"""Containers and networks by the lease that their label names: how the warden removes or mends them, and `doctor` finds
those that nobody holds any more.
"""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import MissingPartError, RuntimeFailure
from harness.runtime.containers.engine import HOMES, LEASE, NODE, ROOM, Engine, connect, engine_url
from harness.runtime.home import Room
from harness.runtime.wire import Where

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.fault import Undo

ENGINE_WITHIN = 5.0  # s for an engine to answer; whoever asks may ask again
GONE_WITHIN = 60.0  # s
QUIET = 0.5  # s without anything new; a call that was under way when its maker died may still make something
AT_ONCE = 4


def remove_lease(url: str, lease: str) -> None:
    """All of one lease. Idempotent. Raises `SquallError` for what does not go."""
    engine = _reach(url)
    try:
        _remove_all(engine, f"{LEASE}={lease}")
    finally:
        engine.close()


def _remove_all(engine: Engine, label: str) -> None:
    deadline = time.monotonic() + GONE_WITHIN
    empty_since: float | None = None
    while True:
        containers, networks = engine.labelled(label)
        if containers or networks:
            empty_since = None
            with ThreadPoolExecutor(AT_ONCE) as pool:
                # Dying takes no time, tidying up does: so all die first.
                running = [c["Id"] for c in containers if c["State"] != "exited"]
                list(pool.map(engine.kill, running))
                list(pool.map(engine.remove, [c["Id"] for c in containers]))
                list(pool.map(engine.remove_network, [n["Id"] for n in networks]))
        elif empty_since is None:
            empty_since = time.monotonic()
        elif time.monotonic() - empty_since >= QUIET:
            return
        if time.monotonic() > deadline:
            left = [name for c in containers for name in c["Names"]] + [n["Name"] for n in networks]
            raise RuntimeFailure(
                f"the container engine did not remove {', '.join(left)} within {GONE_WITHIN:g} s"
            )
        time.sleep(0.05)


def undo(url: str, lease: str, borrowed: Mapping[str, Where], undos: Sequence[Undo]) -> None:
    """Start, resume or connect nodes of the lease again, or those `borrowed`. Safe to do twice. Raises `RuntimeFailure`."""
    nodes = borrowed or _nodes_of(url, lease)
    for each in undos:
        found = nodes[each.subject]
        engine = _reach(found.engine)
        try:
            _undo(engine, found, each.action)
        finally:
            engine.close()


def _nodes_of(url: str, lease: str) -> dict[str, Where]:
    engine = _reach(url)
    try:
        containers, _ = engine.labelled(f"{LEASE}={lease}")
    finally:
        engine.close()
    return {
        each["Labels"][NODE]: Where(url, each["Id"], json.loads(each["Labels"][HOMES]))
        for each in containers
    }


def _undo(engine: Engine, found: Where, action: str) -> None:
    match action:
        case "start":
            engine.start(found.container)
        case "resume":
            if engine.look(found.container).paused:
                engine.unpause(found.container)
        case "connect":
            reconnect(engine, found.container, found.homes)
        case other:
            raise RuntimeFailure(f"unknown undo '{other}'")


def reconnect(engine: Engine, container: str, homes: Mapping[str, str]) -> None:
    """Join every network that it belongs to, at its address there. Idempotent."""
    for network, address in homes.items():
        if network not in engine.networks_of(container):
            engine.join(network, container, address)


def _reach(url: str) -> Engine:
    deadline = time.monotonic() + ENGINE_WITHIN
    while True:
        try:
            return connect(url)
        except MissingPartError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


# ------------------------------------------------------------------------------------------------------------ doctor


@dataclass(frozen=True, slots=True)
class Stray:
    """What a lease left at the engine, whose warden is gone. `str` is one line for a person."""

    url: str
    lease: str
    containers: tuple[str, ...]
    networks: tuple[str, ...]

    def __str__(self) -> str:
        parts = [
            f"{len(names)} {what} ({', '.join(names)})"
            for what, names in (("containers", self.containers), ("networks", self.networks))
            if names
        ]
        return f"the container engine: {self.lease}, which nobody holds, left {' and '.join(parts)}"


def find_strays() -> list[Stray]:
    """Those that no living warden holds. None where there is no engine to be asked."""
    try:
        engine = connect(engine_url(), ENGINE_WITHIN)
    except MissingPartError:
        return []
    try:
        containers, networks = engine.labelled(LEASE)
    except RuntimeFailure:
        return []
    finally:
        engine.close()
    leases = {each["Labels"][LEASE]: each["Labels"][ROOM] for each in (*containers, *networks)}
    return [
        Stray(
            engine.url,
            lease,
            tuple(sorted(c["Names"][0].lstrip("/") for c in containers if _is(c, lease))),
            tuple(sorted(n["Name"] for n in networks if _is(n, lease))),
        )
        for lease, room in sorted(leases.items())
        if _is_free(Path(room))
    ]


def clean_strays(strays: Sequence[Stray]) -> None:
    """Raises `SquallError` for what does not go."""
    for stray in strays:
        remove_lease(stray.url, stray.lease)


def _is(listed: dict[str, dict[str, str]], lease: str) -> bool:
    return listed["Labels"][LEASE] == lease


def _is_free(room: Path) -> bool:
    return not room.exists() or Room(room).abandoned()
