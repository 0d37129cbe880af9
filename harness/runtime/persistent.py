"""Clusters that outlive the command that started them: ``squall up``, ``status``, ``fault``, ``heal``, ``down``."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec

from harness.errors import RuntimeFailure, SquallError
from harness.runtime import doctor
from harness.runtime.base import Parts, Plan
from harness.runtime.home import Room, rooms_dir
from harness.runtime.session import find_kind
from harness.runtime.warden_client import WardenClient, start_detached
from harness.runtime.wire import Attach, Attached
from harness.yamlspec import nearest

if TYPE_CHECKING:
    from harness.runtime.leased import LeasedCluster
    from harness.topology import Topology

DOWN_WITHIN = 20.0  # s, once its nodes have ended
_PREFIX = "up-"
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")


class Kept(msgspec.Struct, frozen=True):
    """What a room says of the cluster in it."""

    runtime: str
    plan: Plan


async def up(
    topology: Topology,
    name: str = "",
    *,
    runtime: str = "process",
    parts: Parts | None = None,
    seed: int = 0,
) -> LeasedCluster:
    """Start a cluster that lives until `down`; `name` is by default the topology's. Returns a connection to it.

    `parts`: as the runtime's kind prepared them. Raises `SquallError` when there is one of that name, `RuntimeFailure`
    when it does not get ready: then nothing stays.
    """
    room = check_free(name or topology.name)
    kind = find_kind(runtime)
    await asyncio.to_thread(start_detached, room, kind.preload([topology.program]))
    try:
        opened = kind.open(room.sock, parts or Parts(), seed=seed)
        # In the room, so that it goes when the cluster goes.
        plan = opened.plan(topology, room.path / "run")
        cluster = cast("LeasedCluster", await opened.start(plan))
        try:
            await asyncio.to_thread(room.plan.write_bytes, _encode(Kept(runtime, plan)))
            await cluster.keep()
        except BaseException:
            await cluster.close()
            raise
    except BaseException:
        await _gone(room)  # so that the name is free when the user reads why
        raise
    return cluster


def check_free(name: str) -> Room:
    """Raises `SquallError` when a cluster of that name is up, or when none can have it."""
    room = _room(name)
    if room.path.exists() and not room.abandoned():
        raise SquallError(f"'{name}' is up already; 'squall down {name}' ends it")
    return room


async def attach(name: str) -> LeasedCluster:
    """A connection to a cluster that is up. End it by ``detach()``; ``close()`` ends the cluster.

    Raises `SquallError` when there is none of that name.
    """
    room = _room(name)
    if name not in list_clusters():
        raise SquallError(f"no cluster '{name}' is up{nearest(name, list_clusters())}")
    client = WardenClient(room.sock)
    try:
        attached = client.ask_now(Attach(), Attached)
        kept = _decode(await asyncio.to_thread(room.plan.read_bytes))
        cluster = find_kind(kept.runtime).attach(kept.plan, client)
    except (OSError, RuntimeFailure, msgspec.MsgspecError) as error:
        client.close()
        raise SquallError(f"'{name}' can't be attached to: {error}") from error
    await cluster.listen(attached.nodes)
    return cluster


async def down(name: str) -> None:
    """End a cluster and its warden, and wait until nothing is left. Raises `SquallError` when there is none."""
    room = _room(name)
    cluster = await attach(name)
    await cluster.close()
    await _gone(room)


async def _gone(room: Room) -> None:
    """Until its warden has ended and nothing is left. Raises `RuntimeFailure` at the deadline."""
    deadline = asyncio.get_running_loop().time() + DOWN_WITHIN
    while await asyncio.to_thread(room.path.exists):
        if asyncio.get_running_loop().time() > deadline:
            raise RuntimeFailure(
                f"{room.path} is still there after {DOWN_WITHIN:g} s; run 'squall doctor'"
            )
        if room.abandoned():
            await asyncio.to_thread(doctor.clean, doctor.find_leftovers(room))
        await asyncio.sleep(0.02)


def list_clusters() -> list[str]:
    """The names of the clusters that are up, of this user."""
    rooms = [Room(path) for path in sorted(rooms_dir().glob(f"{_PREFIX}*"))]
    return [
        room.path.name.removeprefix(_PREFIX)
        for room in rooms
        if room.plan.exists() and not room.abandoned()
    ]


def _room(name: str) -> Room:
    if not _NAME.fullmatch(name):
        raise SquallError(
            f"'{name}' can't be the name of a cluster: a to z, 0 to 9 and '-', 31 at most"
        )
    return Room(rooms_dir() / f"{_PREFIX}{name}")


def _encode(kept: Kept) -> bytes:
    return msgspec.json.encode(kept, enc_hook=str)


def _decode(raw: bytes) -> Kept:
    return msgspec.json.decode(raw, type=Kept, dec_hook=_path)


def _path(kind: type, value: Any) -> Any:
    if kind is Path or issubclass(kind, Path):
        return Path(value)
    raise NotImplementedError(kind)
