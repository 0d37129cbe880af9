"""The edge KV in Redis. Each call is one script or transaction, so no reader ever sees half of a write.

Keys: `squall:seq` the position; `squall:flags` field "org NUL key" to a FlagState; `squall:versions` field org to
its version; `squall:changes` the last changes up to the position, oldest first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar, cast

import msgspec
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import WatchError

from reference_impl.kv.base import KEPT
from reference_impl.propagation.types import Change, FlagState, OrgState, Snapshot
from reference_impl.resilience.errors import INVALID, CallError, mapped

T = TypeVar("T")
KEYS: Final = ("squall:seq", "squall:flags", "squall:versions", "squall:changes")
SEQ, FLAGS, VERSIONS, CHANGES = KEYS
WRITERS: Final = 8  # how often a replace may meet another writer before it gives up

# ARGV: kept, then for each change: seq, org, version, key, FlagState or "" when deleted, Change.
_APPLY: Final = """
local seq = tonumber(redis.call('GET', KEYS[1]) or '0')
local before = seq
for i = 2, #ARGV, 6 do
  if tonumber(ARGV[i]) == seq + 1 then
    seq = seq + 1
    local field = ARGV[i + 1] .. '\\0' .. ARGV[i + 3]
    if ARGV[i + 4] == '' then redis.call('HDEL', KEYS[2], field)
    else redis.call('HSET', KEYS[2], field, ARGV[i + 4]) end
    redis.call('HSET', KEYS[3], ARGV[i + 1], ARGV[i + 2])
    redis.call('RPUSH', KEYS[4], ARGV[i + 5])
  end
end
if seq > before then
  redis.call('SET', KEYS[1], seq)
  redis.call('LTRIM', KEYS[4], -tonumber(ARGV[1]), -1)
end
return seq
"""

# ARGV: the reader's position. Answers [position, changes] or [position, false, flags, versions].
_FETCH: Final = """
local seq = tonumber(redis.call('GET', KEYS[1]) or '0')
local missing = seq - tonumber(ARGV[1])
if missing <= 0 then return {seq, {}} end
if missing <= redis.call('LLEN', KEYS[4]) then
  return {seq, redis.call('LRANGE', KEYS[4], -missing, -1)}
end
return {seq, false, redis.call('HGETALL', KEYS[2]), redis.call('HGETALL', KEYS[3])}
"""

_encode = msgspec.json.encode
_change = msgspec.json.Decoder(Change).decode
_state = msgspec.json.Decoder(FlagState).decode


class RedisKV:
    """An `EdgeKV`. `timeout` in s is for each call; a full write or read may take `bulk` times as long."""

    def __init__(
        self, host: str, port: int, *, timeout: float = 0.5, bulk: float = 10.0, kept: int = KEPT
    ) -> None:
        self._timeout = timeout
        self._bulk = timeout * bulk
        self._kept = kept
        self._where = f"edge KV at {host}:{port}"
        self._redis = Redis(
            host=host,
            port=port,
            socket_connect_timeout=timeout,
            socket_timeout=self._bulk,
            retry=Retry(NoBackoff(), 0),  # retries are the caller's, and counted
            single_connection_client=False,
        )
        self._apply = self._redis.register_script(_APPLY)
        self._fetch = self._redis.register_script(_FETCH)

    def __repr__(self) -> str:
        return f"<RedisKV {self._where}>"

    async def ping(self) -> int:
        async def read() -> int:
            return int(await cast("Awaitable[Any]", self._redis.get(SEQ)) or 0)

        return await self._within(self._timeout, read)

    async def apply(self, changes: Sequence[Change]) -> int:
        args: list[Any] = [self._kept]
        for change in changes:
            state = b"" if change.flag is None else _encode(FlagState(change.seq, change.flag))
            args += [change.seq, change.org, change.version, change.key, state, _encode(change)]

        async def write() -> int:
            return int(await self._apply(keys=KEYS, args=args))

        return await self._within(self._timeout, write)

    async def replace(self, snapshot: Snapshot) -> int:
        flags = {
            f"{name}\0{key}": _encode(state)
            for name, org in snapshot.orgs.items()
            for key, state in org.flags.items()
        }
        versions = {name: org.version for name, org in snapshot.orgs.items()}
        return await self._within(
            self._bulk, lambda: self._swap(snapshot.seq, ((FLAGS, flags), (VERSIONS, versions)))
        )

    async def _swap(self, seq: int, hashes: tuple[tuple[str, Any], ...]) -> int:
        async with self._redis.pipeline(transaction=True) as pipe:
            for _ in range(WRITERS):
                await pipe.watch(SEQ)
                present = int(await cast("Awaitable[Any]", pipe.get(SEQ)) or 0)
                if present >= seq:
                    return present
                pipe.multi()  # type: ignore[no-untyped-call]
                pipe.delete(FLAGS, VERSIONS, CHANGES)
                for name, mapping in hashes:
                    if mapping:
                        pipe.hset(name, mapping=mapping)
                pipe.set(SEQ, seq)
                try:
                    await pipe.execute()
                except WatchError:
                    continue
                return seq
        raise CallError(INVALID, f"{self._where}: other writers are always in between")

    async def fetch(self, since_seq: int) -> list[Change] | Snapshot:
        async def read() -> list[Any]:
            return cast("list[Any]", await self._fetch(keys=KEYS, args=[since_seq]))

        seq, changes, *full = await self._within(self._bulk, read)
        try:
            if changes is not None:
                return [_change(change) for change in changes]
            return _snapshot(int(seq), *full)
        except (msgspec.DecodeError, ValueError) as error:
            raise CallError(INVALID, f"{self._where}: {error}") from None

    async def flags(self, org: str, keys: Sequence[str]) -> dict[str, FlagState]:
        if not keys:
            return {}
        fields = [f"{org}\0{key}" for key in keys]

        async def read() -> list[bytes | None]:
            return await cast("Awaitable[list[bytes | None]]", self._redis.hmget(FLAGS, fields))

        found = await self._within(self._timeout, read)
        try:
            return {
                k: _state(data) for k, data in zip(keys, found, strict=True) if data is not None
            }
        except (msgspec.DecodeError, ValueError) as error:
            raise CallError(INVALID, f"{self._where}: {error}") from None

    async def close(self) -> None:
        await self._redis.aclose()

    async def _within(self, seconds: float, call: Callable[[], Awaitable[T]]) -> T:
        with mapped(self._where):
            async with asyncio.timeout(seconds):
                return await call()


def _snapshot(seq: int, flags: list[bytes], versions: list[bytes]) -> Snapshot:
    """From the two hashes as Redis gives them: name, value, name, value…"""
    orgs = {
        name.decode(): OrgState(int(version), {})
        for name, version in zip(versions[::2], versions[1::2], strict=True)
    }
    for field, state in zip(flags[::2], flags[1::2], strict=True):
        org, _, key = field.decode().partition("\0")
        orgs.setdefault(org, OrgState()).flags[key] = _state(state)
    return Snapshot(seq, orgs)
