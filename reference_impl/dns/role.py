"""The DNS server: names of the platform's doors, by which clients find the region that serves them ("UpdateDNS")."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from reference_impl.balancer.health import HealthCheck, HealthSettings
from reference_impl.config import ConfigError, NodeConfig, Positive
from reference_impl.dns import message, records
from reference_impl.dns.follow import Follower
from reference_impl.dns.records import (
    ConflictError,
    InvalidRecordError,
    RecordData,
    Zone,
    ZoneStore,
)
from reference_impl.dns.server import DnsServer
from reference_impl.dns.store import FileZoneStore
from reference_impl.resilience.http import HttpClient
from reference_impl.role import Env
from reference_impl.web import Site, Tasks, error_response, json_response

RECORD = "/records/{name}"


class DnsSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`records`: what the primary begins with, once; what it has saved goes before.

    A secondary asks each `refresh` s, waits `timeout` s for the answer, and after `expire` s without one it no longer
    answers for the zone. `health`: of the "target" links.
    """

    port: int = 5353
    records: dict[str, RecordData] = {}
    refresh: Positive = 0.5
    timeout: Positive = 0.5
    expire: Positive = 86_400.0
    health: HealthSettings = HealthSettings(interval=0.2, failures=3, hold=1.0)


class Dns:
    """A `Role`. With a "dns-primary" link it is a secondary. `store` can be given; else a file in `state_dir`.

    Its "target" links are the nodes behind `checked` records.
    """

    def __init__(self, config: NodeConfig, env: Env, store: ZoneStore | None = None) -> None:
        self.config = config
        self.env = env
        self.settings = config.settings_as(DnsSettings)
        self.store = store or FileZoneStore(Path(config.state_dir, "zone.json"))
        self.zone = Zone()
        self.queries = 0
        self.server = DnsServer(self._answer)
        self._started = 0.0
        self._http = HttpClient(self.settings.timeout)
        primaries = config.upstreams("dns-primary")
        self.follower = (
            Follower(primaries, self._http, self.settings.refresh, self.take) if primaries else None
        )
        self.checks = {
            target.address: HealthCheck(target, self.settings.health, lambda _reason: None)
            for target in config.upstreams("target")
        }
        self._tasks = Tasks()
        self.site = Site(self._status, self._unready)
        self.site.get("/records", self._list)
        self.site.add("PUT", RECORD, self._put)
        self.site.add("DELETE", RECORD, self._delete)

    def __repr__(self) -> str:
        kind = repr(self.follower) if self.follower else "primary"
        return f"<Dns {self.config.name} serial={self.zone.serial} {kind}>"

    async def start(self) -> None:
        self._started = asyncio.get_running_loop().time()
        self.zone = self._first_zone()
        for check in self.checks.values():
            self._tasks.start(check.run, f"health of {check.target.to}")
        if self.follower is not None:
            self._tasks.start(self.follower.run, "follower")
        await self.server.start(self.config.listen.host, self.settings.port)
        await self.site.start(self.config.listen.host, self.config.listen.port)

    async def stop(self) -> None:
        await self.server.stop()
        await self._tasks.stop()
        await self.site.stop()
        await self._http.close()

    def _first_zone(self) -> Zone:
        """Raises `ConfigError` where what is saved, or set, can't be served."""
        try:
            if (saved := self.store.load()) is not None:
                return saved
            zone = Zone()
            for name, data in self.settings.records.items() if self.follower is None else ():
                zone = records.put(zone, name, data)
        except (ValueError, InvalidRecordError) as error:
            raise ConfigError(f"{self.config.name}: {error}") from None
        return zone

    # ------------------------------------------------------------------------------------------------------- queries

    def _answer(self, query: bytes, source: str, udp: bool) -> bytes | None:
        self.queries += 1
        group = self.config.clients.get(source, "")
        return message.answer(query, lambda name: self.lookup(name, group), udp=udp)

    def lookup(self, name: str, group: str) -> message.Found | None:
        """What a client of that group is answered; None: no such name. Raises `UnavailableError`."""
        if reason := self._unready():
            raise message.UnavailableError(reason)
        record = self.zone.records.get(name)
        if record is None:
            return None
        addresses = record.for_group(group)
        if record.checked:
            addresses = self._well(addresses)
        return message.Found(tuple(addresses), record.ttl)

    def _well(self, addresses: list[str]) -> list[str]:
        """The most preferred that is not known to be down; all of them where every one is: any may be better than none."""
        for address in addresses:
            check = self.checks.get(address)
            if check is None or check.healthy is not False:
                return [address]
        return addresses

    def _unready(self) -> str | None:
        if self.follower is None:
            return None
        if not self.zone.serial:
            return "no zone yet"
        heard = self.follower.heard if self.follower.heard is not None else self._started
        silent = asyncio.get_running_loop().time() - heard
        return f"no primary for {silent:.0f} s" if silent > self.settings.expire else None

    # ------------------------------------------------------------------------------------------------------- changes

    def take(self, zone: Zone) -> None:
        """A zone that the primary gave; one that is not newer than ours changes nothing."""
        if zone.serial > self.zone.serial:
            self._replace(zone)

    def _replace(self, zone: Zone) -> None:
        """Saved before it is served: what was answered once is not taken back by a restart."""
        if zone is not self.zone:
            self.store.save(zone)
            self.zone = zone

    async def _list(self, _: web.Request) -> web.Response:
        return json_response(self.zone)

    async def _put(self, request: web.Request) -> web.Response:
        try:
            data = msgspec.json.decode(await request.read(), type=RecordData)
        except msgspec.DecodeError as error:
            return error_response(400, str(error))
        return self._change(request, data)

    async def _delete(self, request: web.Request) -> web.Response:
        return self._change(request, None)

    def _change(self, request: web.Request, data: RecordData | None) -> web.Response:
        """`If-Match: VERSION` lets a writer change only what it knows; 0 stands for a name that is not there."""
        if self.follower is not None:
            return error_response(409, f"{self.config.name} is a secondary: write to the primary")
        name, match = request.match_info["name"], request.headers.get("If-Match")
        expected = None if match is None else match.strip().strip('"')
        if expected is not None and not (expected.isascii() and expected.isdigit()):
            return error_response(400, f"If-Match: {match!r} is no version")
        known = None if expected is None else int(expected)
        try:
            zone = (
                records.remove(self.zone, name, known)
                if data is None
                else records.put(self.zone, name, data, known)
            )
        except InvalidRecordError as error:
            return error_response(400, str(error))
        except ConflictError as error:
            return error_response(412, str(error), version=error.version)
        self._replace(zone)
        return json_response({"name": records.canonical(name), "version": zone.serial})

    def _status(self) -> dict[str, Any]:
        follower = self.follower
        return {
            "node": self.config.name,
            "role": self.config.role,
            "boot": self.env.boot,
            "seq": self.zone.serial,
            "upstream": follower.upstream if follower else None,
            "error": follower.error.kind if follower and follower.error else None,
            "primary": follower is None,
            "refusing": self._unready(),
            "queries": self.queries,
            "records": {name: record.version for name, record in self.zone.records.items()},
            "down": [c.target.to for c in self.checks.values() if c.healthy is False],
        }
