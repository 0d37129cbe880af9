"""The API server: takes writes, and answers only once they are committed. It keeps nothing of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec
from aiohttp import web

from reference_impl.archive import site as archive
from reference_impl.archive.reads import Histories
from reference_impl.cache.base import CacheSettings, ConfigCache
from reference_impl.cache.cluster import ClusterCache
from reference_impl.cache.reads import CachedReads
from reference_impl.config import NodeConfig
from reference_impl.evaluation import InvalidFlag, compile_flag
from reference_impl.objectstore.base import ObjectStore
from reference_impl.objectstore.http import HttpObjectStore, StoreSettings
from reference_impl.propagation.types import Change, Flag
from reference_impl.resilience.errors import INVALID, SERVICE_UNAVAILABLE, CallError
from reference_impl.resilience.http import HttpClient
from reference_impl.role import Env
from reference_impl.shards.log import ShardedChangeLog, ShardSettings
from reference_impl.shards.postgres import PostgresShards
from reference_impl.storage.base import ChangeLog
from reference_impl.storage.postgres import DatabaseSettings, PostgresChangeLog
from reference_impl.storage.versions import PostgresVersions, Versions
from reference_impl.web import Site, error_response, json_response

EVALUATORS: Final = "$evaluators"  # the key of an organisation's shared rules
NONE: Final = 0.001  # s
LONGEST_NAME: Final = 256  # characters
FLAG: Final = "/v1/orgs/{org}/flags/{key}"

Validator = Callable[[str, Flag, Flag], str | None]


class ApiSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`read_home`: reads are answered by whatever database of the "db" links is reached, a standby too, so that a region whose
    database takes no writes serves reads; its writes are refused (503). `shards`: where there are "shard" links; `cache`:
    where there are "cache" links; `store`: of archived versions, where there is an "archive" link.
    """

    cache: CacheSettings = CacheSettings()
    database: DatabaseSettings = DatabaseSettings()
    read_home: bool = False
    shards: ShardSettings = ShardSettings()
    store: StoreSettings = StoreSettings()


def invalid_flag(key: str, definition: Flag, evaluators: Flag) -> str | None:
    """Why a PoP could not use this definition, in one line; None when it could. `evaluators`: the shared rules."""
    if key == EVALUATORS:
        return None
    try:
        compile_flag(key, definition, evaluators)
    except InvalidFlag as error:
        return " ".join(str(error).split())
    return None


class Api:
    """A `Role`. What it uses can be given; else it is PostgreSQL of the "shard" links, each organisation at one of them, or of
    the "db" links, where there are none; `invalid_flag`; the Redis cluster of the "cache" links and the object store of the
    first "archive" link, if there are any.
    """

    def __init__(
        self,
        config: NodeConfig,
        env: Env,
        log: ChangeLog | None = None,
        validate: Validator = invalid_flag,
        cache: ConfigCache | None = None,
        histories: Histories | None = None,
    ) -> None:
        self.config = config
        self.env = env
        settings = config.settings_as(ApiSettings)
        self.log: ChangeLog = log or _storage(config, settings)
        self.reads: ChangeLog = self.log
        if settings.read_home and log is None:
            self.reads = PostgresChangeLog(
                config.upstreams("db"),
                # Its own database is the only one: promoted, it is read as well, and at once.
                msgspec.structs.replace(
                    settings.database, prefer_standby=True, standby_patience=NONE
                ),
                writer=False,
                name=config.name,
            )
        links = config.upstreams("cache")
        cache = cache or (ClusterCache(links, settings.cache) if links else None)
        self.cached: CachedReads | None = None
        if cache is not None:
            self.cached = CachedReads(self.reads, cache, settings.cache, env.random)
        self.http = HttpClient()
        self.histories = histories or self._histories(settings)
        self._validate = validate
        self._seq = 0  # the last position we wrote
        self._writes = 0
        self._failed = 0
        self.site = Site(self._status, lambda: None)
        self.site.add("PUT", FLAG, _guarded(self._put))
        self.site.add("DELETE", FLAG, _guarded(self._delete))
        self.site.get(FLAG, _guarded(self._get))
        self.site.get(f"{FLAG}/history", _guarded(self._history))
        self.site.get(f"{FLAG}/versions/{{version}}", _guarded(self._version))
        self.site.get("/v1/orgs/{org}/flags", _guarded(self._list))
        self.site.get("/v1/snapshot", _guarded(self._snapshot))

    def __repr__(self) -> str:
        return f"<Api {self.config.name} writes={self._writes} failed={self._failed} {self.log!r}>"

    async def start(self) -> None:
        await self.log.start()
        if self.reads is not self.log:
            await self.reads.start()
        if self.cached is not None:
            await self.cached.start()
        await self.site.start(self.config.listen.host, self.config.listen.port)

    async def stop(self) -> None:
        await self.site.stop()
        if self.cached is not None:
            await self.cached.close()
        await self.log.close()
        if self.reads is not self.log:
            await self.reads.close()
        await self.histories.versions.close()
        await self.http.close()

    def _histories(self, settings: ApiSettings) -> Histories:
        versions: Versions = PostgresVersions(
            self.config.upstreams("db"), settings.database, writer=False, name=self.config.name
        )
        store: ObjectStore | None = None
        if self.config.upstreams("archive"):
            link = self.config.upstream("archive")
            store = HttpObjectStore(link, settings.store, self.http, self.env.random)
        return Histories(versions, store)

    def _status(self) -> dict[str, Any]:
        return {
            "node": self.config.name,
            "role": self.config.role,
            "boot": self.env.boot,
            "seq": self._seq,
            "writes": self._writes,
            "failed": self._failed,
            "database": repr(self.log),
            "cache": self.cached.status() if self.cached else None,
        }

    async def _put(self, request: web.Request) -> web.Response:
        org, key = _names(request)
        try:
            body = await request.read()
            definition = msgspec.json.decode(body, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return error_response(400, f"not a flag definition: {error}")
        # Only a flag that refers to shared rules has need of them; a write without is one call to the database.
        shared = await self.reads.get(org, EVALUATORS) if b'"$ref"' in body else None
        reason = self._validate(key, definition, shared[0].flag if shared else {})
        if reason is not None:
            return error_response(400, reason)
        return await self._write(org, key, definition)

    async def _delete(self, request: web.Request) -> web.Response:
        return await self._write(*_names(request), None)

    async def _write(self, org: str, key: str, definition: Flag | None) -> web.Response:
        try:
            change = await self.log.put_flag(org, key, definition, self.env.wall_ns())
        except CallError:
            self._failed += 1
            raise
        self._writes += 1
        self._seq = max(self._seq, change.seq)
        if self.cached is not None:
            await self.cached.wrote(change)
        return json_response(_receipt(change))

    async def _get(self, request: web.Request) -> web.Response:
        org, key = _names(request)
        if self.cached is None:
            found = await self.reads.get(org, key)
        else:
            fresh = "no-cache" in request.headers.get("Cache-Control", "")
            found = await self.cached.get(org, key, bypass=fresh)
        if found is None:
            return error_response(404, f"organisation {org!r} has no flag {key!r}")
        state, version = found
        answer = {"flag": state.flag, "version": version, "seq": state.seq}
        return json_response({**answer, "node": self.config.name})

    async def _history(self, request: web.Request) -> web.Response:
        return await archive.history(self.histories, request, *_names(request))

    async def _version(self, request: web.Request) -> web.Response:
        return await archive.version(self.histories, request, *_names(request))

    async def _list(self, request: web.Request) -> web.Response:
        org, _ = _names(request)
        found = await self.reads.list_org(org)
        if found is None:
            return error_response(404, f"no organisation {org!r}")
        return json_response(found)

    async def _snapshot(self, _: web.Request) -> web.Response:
        return json_response(await self.reads.snapshot())


def _storage(config: NodeConfig, settings: ApiSettings) -> ChangeLog:
    shards = config.upstreams("shard")
    if shards:
        databases = [PostgresShards(link, settings.database, config.name) for link in shards]
        return ShardedChangeLog(databases, settings.shards)
    return PostgresChangeLog(
        config.upstreams("db"), settings.database, writer=True, name=config.name
    )


def _receipt(change: Change) -> dict[str, object]:
    return {"org": change.org, "key": change.key, "version": change.version, "seq": change.seq}


def _names(request: web.Request) -> tuple[str, str]:
    org, key = request.match_info["org"], request.match_info.get("key", "-")
    for name in (org, key):
        if not name or len(name) > LONGEST_NAME or not name.isprintable():
            raise CallError(
                INVALID, f"{name!r} is no name: 1 to {LONGEST_NAME} printable characters"
            )
    return org, key


def _guarded(handler: Callable[[web.Request], Any]) -> Callable[[web.Request], Any]:
    """Turn `CallError` into an answer. `outcome` says whether a write may have been done all the same."""

    async def handle(request: web.Request) -> web.Response:
        try:
            response: web.Response = await handler(request)
        except CallError as error:
            if error.kind == INVALID:
                return error_response(400, error.detail)
            outcome = "refused" if error.kind == SERVICE_UNAVAILABLE else "unknown"
            return error_response(503, str(error), outcome=outcome)
        return response

    return handle
