"""The mover: gives the databases their first shards, doubles their number when it is told to, and lists who has what.

It need not be up for the platform to serve: what an organisation's database is, the databases themselves say. Lost in the middle of a
growth it goes on by its journal; lost with its journal, the same order begins anew, and every step that is done already does nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import msgspec
from aiohttp import web

from reference_impl.config import ConfigError, NodeConfig, Positive
from reference_impl.resilience.errors import CallError
from reference_impl.role import Env
from reference_impl.shards.base import ShardDatabase
from reference_impl.shards.hand_over import HandOver
from reference_impl.shards.journal import Growth, Journal, Move
from reference_impl.shards.plan import PlanError, count_of, finished, first_places, holders, moves
from reference_impl.shards.postgres import PostgresShards
from reference_impl.shards.shard import FIRST, MOST, Owned
from reference_impl.storage.postgres import DatabaseSettings
from reference_impl.web import Site, Tasks, error_response, json_response

Count = Annotated[int, msgspec.Meta(ge=1, le=MOST)]


class MoverSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Times in s. `first`: the databases that have the `shards` at first; all of them where none is named.

    `pace`: the pause between two shards of a growth, so that it is no load. `retry`: the pause after a step that failed.
    """

    database: DatabaseSettings = DatabaseSettings()
    shards: Count = FIRST
    first: tuple[str, ...] = ()
    pace: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    retry: Positive = 0.5


class Grow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `POST /shards`."""

    shards: Count


class Mover:
    """A `Role`. `databases` can be given; else PostgreSQL of the "shard" links."""

    def __init__(
        self, config: NodeConfig, env: Env, databases: Sequence[ShardDatabase] | None = None
    ) -> None:
        self.config = config
        self.env = env
        self.settings = settings = config.settings_as(MoverSettings)
        if databases is None:
            databases = [
                PostgresShards(link, settings.database, config.name)
                for link in config.upstreams("shard")
            ]
        self.databases = {database.name: database for database in databases}
        self.hand_over = HandOver(self.databases)
        self.journal = Journal(Path(config.state_dir) / "growths.json")
        self.placed = False
        self.error = ""
        self._check_first()
        self._ordered = asyncio.Event()
        self._planning = asyncio.Lock()
        self._tasks = Tasks()
        self.site = Site(self._status, lambda: None)
        self.site.add("POST", "/shards", self._grow)
        self.site.get("/shards", self._list)

    def __repr__(self) -> str:
        return f"<Mover {self.config.name} {self.journal!r} {self.error}>"

    async def start(self) -> None:
        self.journal.load()
        for database in self.databases.values():
            await database.start()
        self._tasks.start(self._run, "move")
        await self.site.start(self.config.listen.host, self.config.listen.port)

    async def stop(self) -> None:
        await self._tasks.stop()
        await self.site.stop()
        for database in self.databases.values():
            await database.close()

    # ------------------------------------------------------------------------------------------------- the work

    async def _run(self) -> NoReturn:
        while not self.placed:
            await self._place()
        while True:
            self._ordered.clear()
            growth = self.journal.current
            if growth is None:
                await self._ordered.wait()
            else:
                await self._go_on(growth)

    async def _place(self) -> None:
        """Give every database its first shards; one that ever got them keeps what it has."""
        places = first_places(self.settings.first or tuple(self.databases), self.settings.shards)
        try:
            for name, database in self.databases.items():
                await database.place(places.get(name, ()))
        except CallError as error:
            await self._pause(error)
            return
        self.placed, self.error = True, ""

    async def _go_on(self, growth: Growth) -> None:
        """Each move that is left as far as it gets; where a database is away, the others' go on."""
        for move in growth.left:
            try:
                await self._move(move)
            except CallError as error:
                await self._pause(error)
            else:
                self.error = ""
                await asyncio.sleep(self.settings.pace)

    async def _move(self, move: Move) -> None:
        while move.next is not None:
            await self.hand_over.step(move)
            self.journal.done(move)

    async def _pause(self, error: CallError) -> None:
        self.error = str(error)
        await asyncio.sleep(self.settings.retry)

    # ------------------------------------------------------------------------------------------- what it is asked

    async def _grow(self, request: web.Request) -> web.Response:
        """`POST /shards {"shards": 32}`: 202 when it has begun, or is under way or done already."""
        try:
            wanted = msgspec.json.decode(await request.read(), type=Grow).shards
        except msgspec.DecodeError as error:
            return error_response(400, f"not a number of shards up to {MOST}: {error}")
        try:
            async with self._planning:
                await self._begin(wanted)
        except PlanError as error:
            return error_response(409, str(error))
        except CallError as error:
            return error_response(503, str(error))
        return json_response({"shards": wanted}, 202)

    async def _begin(self, wanted: int) -> None:
        """Raises `PlanError`, and `CallError` where a database is away: nobody knows then where all are."""
        current = self.journal.current
        if current is not None:
            if current.shards != wanted:
                raise PlanError(f"{current.shards} shards are being made")
            return
        owned = {name: await database.owned() for name, database in self.databases.items()}
        if finished(owned, wanted):
            return
        count = wanted // 2
        if wanted != count * 2 or count_of(owned) not in (count, wanted):
            raise PlanError(f"{count_of(owned)} shards can only be doubled")
        planned = moves(holders(owned, count), tuple(self.databases))
        self.journal.begin(Growth(wanted, [Move(*move) for move in planned]))
        self._ordered.set()

    async def _list(self, _: web.Request) -> web.Response:
        """`GET /shards`: what each database says itself, of shards and of organisations. 503 where one is away."""
        try:
            owned = {name: await database.owned() for name, database in self.databases.items()}
            orgs = {
                name: await database.organisations() for name, database in self.databases.items()
            }
        except CallError as error:
            return error_response(503, str(error))
        return json_response(
            {
                "shards": count_of(owned),
                "organisations": sum(len(some) for some in orgs.values()),
                "servers": {name: _by_shard(owned[name], orgs[name]) for name in self.databases},
            }
        )

    def _check_first(self) -> None:
        if not self.databases:
            raise ConfigError(
                f"{self.config.name}: role {self.config.role} needs a link with use 'shard'"
            )
        for name in self.settings.first:
            if name not in self.databases:
                raise ConfigError(f"{self.config.name}: no link with use 'shard' goes to {name!r}")

    def _status(self) -> dict[str, Any]:
        current, latest = self.journal.current, self.journal.latest
        return {
            "node": self.config.name,
            "role": self.config.role,
            "boot": self.env.boot,
            "placed": self.placed,
            "growing": current.shards if current else None,
            "moves": len(latest.moves) if latest else 0,
            "moved": len(latest.moves) - len(latest.left) if latest else 0,
            "done": sum(not growth.left for growth in self.journal.growths),
            "error": self.error,
        }


def _by_shard(owned: Sequence[Owned], orgs: Sequence[str]) -> dict[str, list[str]]:
    """The organisations by the number of the open shard that they are on; those of "-" are on none."""
    found: dict[str, list[str]] = {str(one.shard.number): [] for one in owned if one.open}
    for org in orgs:
        on = [one.shard for one in owned if one.open and one.shard.has(org)]
        found.setdefault(str(on[0].number) if on else "-", []).append(org)
    return found
