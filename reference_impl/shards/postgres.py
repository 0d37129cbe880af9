"""A PostgreSQL server that has some of the shards."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib import resources
from typing import Any, TypeVar

import asyncpg
import msgspec

from reference_impl.config import Upstream
from reference_impl.propagation.types import Change, Flag, FlagState, OrgState
from reference_impl.shards.base import NotOwner
from reference_impl.shards.shard import Owned, Shard
from reference_impl.storage.postgres import DatabaseSettings, PostgresChangeLog, changes_of

T = TypeVar("T")
_decode_flag = msgspec.json.Decoder(dict[str, Any]).decode
_decode_flags = msgspec.json.Decoder(dict[str, FlagState]).decode
_CHANGES = """
SELECT seq, org, changes.version, key, flag, at
FROM changes LEFT JOIN unnest($3::text[], $4::bigint[]) AS has (org, version) USING (org)
WHERE org_hash(org) % $1 = $2 AND changes.version > coalesce(has.version, 0)
ORDER BY seq LIMIT $5
"""
_LIST = """
SELECT owns($1) AS mine, (SELECT version FROM orgs WHERE org = $1) AS version,
    (SELECT coalesce(json_object_agg(key, json_build_object('seq', seq, 'flag', flag)), '{}') FROM flags WHERE org = $1) AS flags
"""
_GET = """
SELECT owns($1) AS mine, (SELECT version FROM orgs WHERE org = $1) AS version, seq, flag
FROM (VALUES (1)) AS one LEFT JOIN flags ON org = $1 AND key = $2
"""
# Not where it has been split since: an order that was long under way must not bring back what has gone on to others.
_OPEN = """
INSERT INTO owned SELECT $1, $2, $3, true
WHERE NOT EXISTS (SELECT FROM owned WHERE modulus > $1 AND number % $1 = $2)
ON CONFLICT DO NOTHING
"""
_DROP = (
    "DELETE FROM flags WHERE org_hash(org) % $1 = $2",
    "DELETE FROM changes WHERE org_hash(org) % $1 = $2",
    "DELETE FROM orgs WHERE org_hash(org) % $1 = $2",
)


class PostgresShards(PostgresChangeLog):
    """A `ShardDatabase`: one server and what it has. Also a `ChangeLog` of that server alone, for a stream server."""

    def __init__(self, server: Upstream, settings: DatabaseSettings, client: str) -> None:
        super().__init__([server], settings, writer=True, name=client)
        self.name = server.to

    def __repr__(self) -> str:
        return f"<PostgresShards {self.name} {super().__repr__()}>"

    def _schema(self) -> str:
        own = resources.files(__package__).joinpath("schema.sql").read_text()
        return f"{super()._schema()}\n{own}"

    async def put_flag(self, org: str, key: str, definition: Flag | None, at: int) -> Change:
        flag = None if definition is None else msgspec.json.encode(definition).decode()
        row = await self._row("SELECT * FROM put_owned_flag($1, $2, $3, $4)", org, key, flag, at)
        if row["out_seq"] is None:
            raise NotOwner(org, self.name)
        return Change(row["out_seq"], org, row["out_version"], key, definition, at)

    async def get(self, org: str, key: str) -> tuple[FlagState, int] | None:
        row = await self._row(_GET, org, key)
        if not row["mine"]:
            raise NotOwner(org, self.name)
        if row["seq"] is None:
            return None
        return FlagState(row["seq"], _decode_flag(row["flag"])), row["version"]

    async def list_org(self, org: str) -> OrgState | None:
        row = await self._row(_LIST, org)
        if not row["mine"]:
            raise NotOwner(org, self.name)
        if row["version"] is None:
            return None
        return OrgState(row["version"], _decode_flags(row["flags"]))

    async def owned(self) -> list[Owned]:
        rows = await self._rows("SELECT modulus, number, epoch, open FROM owned")
        return [
            Owned(Shard(row["modulus"], row["number"]), row["epoch"], row["open"]) for row in rows
        ]

    async def organisations(self) -> list[str]:
        return [row["org"] for row in await self._rows("SELECT org FROM orgs ORDER BY org")]

    async def place(self, shards: Sequence[Shard]) -> None:
        async def give(connection: asyncpg.Connection) -> None:
            fresh = "INSERT INTO placed DEFAULT VALUES ON CONFLICT DO NOTHING RETURNING single"
            if await connection.fetchval(fresh):
                await connection.executemany(
                    "INSERT INTO owned VALUES ($1, $2, 1, true)",
                    [(shard.of, shard.number) for shard in shards],
                )

        await self._transaction(give)

    async def split(self, shard: Shard) -> None:
        async def halve(connection: asyncpg.Connection) -> None:
            whole = await connection.fetchrow(
                "DELETE FROM owned WHERE modulus = $1 AND number = $2 RETURNING epoch, open",
                shard.of,
                shard.number,
            )
            if whole is not None:
                await connection.executemany(
                    "INSERT INTO owned VALUES ($1, $2, $3, $4)",
                    [(half.of, half.number, *whole) for half in shard.halves],
                )

        await self._transaction(halve)

    async def versions(self, shard: Shard) -> dict[str, int]:
        rows = await self._rows(
            "SELECT org, version FROM orgs WHERE org_hash(org) % $1 = $2", shard.of, shard.number
        )
        return {row["org"]: row["version"] for row in rows}

    async def changes_after(
        self, shard: Shard, versions: Mapping[str, int], limit: int
    ) -> list[Change]:
        rows = await self._rows(
            _CHANGES, shard.of, shard.number, list(versions), list(versions.values()), limit
        )
        return changes_of(rows)

    async def replay(self, changes: Sequence[Change]) -> None:
        async def take(connection: asyncpg.Connection) -> None:
            await connection.executemany(
                "SELECT replay_change($1, $2, $3, $4, $5, $6)",
                [(c.seq, c.org, c.version, c.key, _text(c.flag), c.at) for c in changes],
            )
            await connection.execute("NOTIFY squall_changes")

        await self._transaction(take)

    async def close_shard(self, shard: Shard) -> None:
        await self._rows(
            "UPDATE owned SET open = false WHERE modulus = $1 AND number = $2",
            shard.of,
            shard.number,
        )

    async def open_shard(self, shard: Shard, epoch: int) -> None:
        await self._rows(_OPEN, shard.of, shard.number, epoch)

    async def drop_shard(self, shard: Shard) -> None:
        async def forget(connection: asyncpg.Connection) -> None:
            gone = await connection.fetchval(
                "DELETE FROM owned WHERE modulus = $1 AND number = $2 AND NOT open RETURNING 1",
                shard.of,
                shard.number,
            )
            if gone:
                for statement in _DROP:
                    await connection.execute(statement, shard.of, shard.number)
                # A gap makes every reader of this log ask for a snapshot, in which the organisations are no more.
                await connection.execute("UPDATE log_head SET seq = seq + 1")

        await self._transaction(forget)

    async def _row(self, query: str, *args: object) -> Any:
        async def run(connection: asyncpg.Connection) -> Any:
            return await connection.fetchrow(query, *args)

        return await self._call(run, self.settings.call_timeout)

    async def _rows(self, query: str, *args: object) -> Any:
        async def run(connection: asyncpg.Connection) -> Any:
            return await connection.fetch(query, *args)

        return await self._call(run, self.settings.bulk_timeout)

    async def _transaction(self, work: Callable[[asyncpg.Connection], Awaitable[T]]) -> T:
        async def run(connection: asyncpg.Connection) -> T:
            async with connection.transaction():
                return await work(connection)

        return await self._call(run, self.settings.bulk_timeout)


def _text(flag: Flag | None) -> str | None:
    return None if flag is None else msgspec.json.encode(flag).decode()
