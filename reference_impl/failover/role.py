"""The failover controller: sees from several places that the primary is lost, and carries out the recovery procedure.

The steps are the specification's (RecoverFromRegionFailure): detect, promote, update DNS, broadcast to the hubs, run smoke
tests, alert. Each is done again until it succeeds, and recorded before the next begins, so a controller that was lost at any of
them goes on when it is back. It need not be up for the platform to serve; and two primaries can't come of its mistakes, for
the witnesses' lease decides that (`reference_impl.witness`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import msgspec
from aiohttp import web

from reference_impl.alerts.sender import AlertSender
from reference_impl.config import NodeConfig, Positive, Upstream
from reference_impl.dns.update import lead
from reference_impl.failover import journal as steps
from reference_impl.failover.journal import Failover as Record
from reference_impl.failover.journal import Journal
from reference_impl.failover.view import PRIMARY, NodeView, alive, best
from reference_impl.resilience.errors import CallError
from reference_impl.resilience.http import HttpClient
from reference_impl.role import Env
from reference_impl.web import Site, Tasks, error_response, json_response
from reference_impl.witness.quorum import Quorum, View

PROMOTE_WITHIN: Final = 25.0  # s
SMOKE: Final = "/v1/orgs/$smoke/flags/failover"


class FailoverSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Times in s. `suspect`: for how long nobody may have seen the primary before it counts as lost.

    `name`: by which clients find the platform, and `doors`: for each database the addresses that the name is to lead to while it
    is primary; no name: there is one door for all, and nothing to update.
    `candidates`: the databases in order of preference. `standbys_needed`: how many must be heard before one is chosen.
    `smoke`: for each database the "origin" link through which the smoke test goes while it is primary.
    """

    resource: str = "primary"
    candidates: tuple[str, ...] = ()
    name: str = ""
    doors: dict[str, list[str]] = {}
    standbys_needed: int = 1
    smoke: dict[str, str] = {}
    alert: str = "PRIMARY_FAILURE_DETECTED"
    poll: Positive = 0.5
    ask_timeout: Positive = 0.75
    suspect: Positive = 2.0
    smoke_timeout: Positive = 3.0


class Switchover(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `POST /switchover`."""

    to: str


class Failover:
    """A `Role`. Links: "database" to all agents, "witness", "origin" for smoke tests, "hub", "alerts"."""

    def __init__(self, config: NodeConfig, env: Env) -> None:
        self.config = config
        self.env = env
        self.settings = config.settings_as(FailoverSettings)
        self._http = HttpClient()
        self.databases = config.upstreams("database")
        self.quorum = Quorum(
            config.upstreams("witness"),
            self.settings.resource,
            self._http,
            self.settings.ask_timeout,
        )
        self.journal = Journal(Path(config.state_dir) / "failovers.json")
        self.alerts = AlertSender(config.name, config.upstreams("alerts"), self._http, env)
        self.lease: View | None = None
        self.views: dict[str, NodeView] = {}
        self.seen = ""
        self.error = ""
        self._lost_since: float | None = None
        self._tasks = Tasks()
        self.site = Site(self._status, lambda: None)
        self.site.add("POST", "/switchover", self._switchover)

    def __repr__(self) -> str:
        return f"<Failover {self.config.name} {self.journal!r} {self.seen}>"

    async def start(self) -> None:
        self.journal.load()
        self._tasks.start(self._watch, "watch")
        self._tasks.start(self.alerts.run, "alerts")
        await self.site.start(self.config.listen.host, self.config.listen.port)

    async def stop(self) -> None:
        await self._tasks.stop()
        await self.site.stop()
        await self._http.close()

    # ------------------------------------------------------------------------------------------------- detection

    async def _watch(self) -> None:
        while True:
            await self._look()
            current = self.journal.current
            if current is None and self._is_lost():
                assert self.lease is not None
                current = self.journal.begin(self.lease.holder, self.lease.epoch + 1)
            if current is not None:
                await self._go_on(current)
            await asyncio.sleep(self.settings.poll)

    async def _look(self) -> None:
        asking = asyncio.gather(*(self._ask(database) for database in self.databases))
        self.lease = await self.quorum.view()
        views = await asking
        self.views = {view.node: view for view in views if view is not None}

    async def _ask(self, database: Upstream) -> NodeView | None:
        url = f"{database.url}/status"
        try:
            answer = await self._http.request("GET", url, within=self.settings.ask_timeout)
            return msgspec.json.decode(answer.body, type=NodeView)
        except (CallError, msgspec.DecodeError):
            return None

    def _is_lost(self) -> bool:
        """For `suspect` s, whatever this node heard, there was no sign of a primary."""
        if self.lease is None or not self.lease.holder:
            self.seen, self._lost_since = "no majority of the witnesses, or no primary yet", None
            return False
        self.seen = alive(self.lease.holder, self.views)
        now = asyncio.get_running_loop().time()
        if self.seen:
            self._lost_since = None
            return False
        if self._lost_since is None:
            self._lost_since = now
        return now - self._lost_since >= self.settings.suspect

    async def _switchover(self, request: web.Request) -> web.Response:
        """`POST /switchover {"to": database}`: a planned hand-over, as the way back after a failover. 202 when it has begun."""
        try:
            to = msgspec.json.decode(await request.read(), type=Switchover).to
        except msgspec.DecodeError as error:
            return error_response(400, f"not a switchover: {error}")
        target, lease = self.views.get(to), self.lease
        if self.journal.current is not None:
            return error_response(409, "a failover is under way")
        if lease is None or target is None or not target.streaming or lease.holder == to:
            return error_response(409, f"{to} is no standby that receives the log")
        self.journal.begin(lease.holder, lease.epoch + 1, to)
        return json_response({"from": lease.holder, "to": to}, 202)

    # -------------------------------------------------------------------------------------------------- the steps

    async def _go_on(self, record: Record) -> None:
        """As many steps as succeed now; the one that does not is tried again at the next look."""
        acts: dict[str, Callable[[Record], Awaitable[str]]] = {
            steps.DETECT: self._detect,
            steps.PROMOTE: self._promote,
            steps.DNS: self._update_dns,
            steps.BROADCAST: self._broadcast,
            steps.VERIFY: self._verify,
            steps.RESOLVE: self._resolve,
        }
        while (step := record.next) is not None:
            try:
                seen = await acts[step](record)
            except CallError as error:
                self.error = f"{step}: {error}"
                return
            self.error = ""
            self.journal.done(record, round(asyncio.get_running_loop().time() * 1e9), seen)
            print(f"{self.config.name}: {step}: {seen}", flush=True)

    async def _detect(self, record: Record) -> str:
        if record.to:
            await self._hand_over(record)
            await self._look()  # or what it was would be taken for what it is
            return f"{record.lost} hands over to {record.to}"
        heard = ", ".join(f"{v.node} {v.state}" for v in self.views.values()) or "no database"
        self.alerts(self.settings.alert, {"lost": record.lost, "epoch": record.epoch})
        return f"{record.lost} is lost; heard: {heard}"

    async def _hand_over(self, record: Record) -> None:
        """The old primary ends as one that has told its standbys everything. Safe to repeat. Raises `CallError`."""
        lost = self.views.get(record.lost)
        if lost is not None and lost.state == PRIMARY:
            link = self._link(record.lost)
            await self._http.request("POST", f"{link.url}/demote", within=PROMOTE_WITHIN)

    def _link(self, database: str) -> Upstream:
        return next(link for link in self.databases if link.to == database)

    async def _promote(self, record: Record) -> str:
        """Whoever has most of the log. That another was promoted meanwhile, or the lost one is back, ends it as well."""
        if self.lease is None:
            raise CallError("UNKNOWN", "no majority of the witnesses answers")
        holder = self.views.get(self.lease.holder)
        settled = not record.to or self.lease.holder == record.to
        if settled and holder is not None and holder.state == PRIMARY and holder.accepting:
            record.new, record.epoch = holder.node, self.lease.epoch
            return f"{holder.node} is primary in epoch {self.lease.epoch}"
        record.epoch = self.lease.epoch + 1
        chosen = record.to or best(
            record.lost, self.views, self.settings.candidates, self.settings.standbys_needed
        )
        if chosen is None:
            raise CallError("UNKNOWN", f"{len(self.views)} databases answer, too few to choose")
        if self.lease.left > 0 and self.lease.holder != chosen:
            raise CallError(
                "UNKNOWN", f"the lease of {self.lease.holder} has {self.lease.left:.1f} s left"
            )
        link = self._link(chosen)
        body = msgspec.json.encode({"epoch": record.epoch})
        await self._http.request("POST", f"{link.url}/promote", body=body, within=PROMOTE_WITHIN)
        record.new = chosen
        return f"{chosen} is primary in epoch {record.epoch}"

    async def _update_dns(self, record: Record) -> str:
        """The name leads to the door of the region where the new primary is, the others' after it. Raises `CallError`."""
        if not self.settings.name:
            return "one door for all databases: nothing to update"
        order = self.settings.doors.get(record.new)
        if order is None:
            raise CallError("UNKNOWN", f"no door is known for {record.new}")
        dns = self.config.upstream("dns")
        version = await lead(self._http, dns, self.settings.name, order, record.epoch)
        return f"{self.settings.name} leads to {order[0]} for {record.new} (version {version})"

    async def _broadcast(self, record: Record) -> str:
        """Tell every hub that can be reached; the others hear of it when they come back and ask."""
        body = msgspec.json.encode(
            {"name": "FAILOVER_COMPLETE", "data": {"primary": record.new, "epoch": record.epoch}}
        )
        hubs = self.config.upstreams("hub")
        told = await asyncio.gather(*(self._tell(hub, body) for hub in hubs))
        return f"{sum(told)} of {len(hubs)} hubs told"

    async def _tell(self, hub: Upstream, body: bytes) -> bool:
        try:
            await self._http.request(
                "POST", f"{hub.url}/broadcast", body=body, within=self.settings.ask_timeout
            )
        except CallError:
            return False
        return True

    async def _verify(self, record: Record) -> str:
        """A write through the public way, and its value read back. Raises `CallError`."""
        origin = [o for o in self.config.upstreams("origin") if self._leads_to(o, record)]
        if not origin:
            return "no origin to ask"
        value = f"{record.epoch}"
        flag = {"state": "ENABLED", "variants": {"on": value}, "defaultVariant": "on"}
        url = f"{origin[0].url}{SMOKE}"
        within = self.settings.smoke_timeout
        await self._http.request("PUT", url, body=msgspec.json.encode(flag), within=within)
        answer = await self._http.request("GET", url, within=within)
        found = msgspec.json.decode(answer.body)
        if found["flag"]["variants"]["on"] != value:
            raise CallError("INVALID", f"smoke test read {found!r}")
        return f"a write through {origin[0].to} is read back"

    def _leads_to(self, origin: Upstream, record: Record) -> bool:
        """Whether a door is that of the new primary; `smoke` names it. Without, all doors are."""
        return self.settings.smoke.get(record.new, origin.to) == origin.to

    async def _resolve(self, record: Record) -> str:
        self.alerts(
            "FAILOVER_COMPLETE",
            {"lost": record.lost, "primary": record.new, "epoch": record.epoch},
        )
        self._lost_since = None
        return "operators told"

    def _status(self) -> dict[str, Any]:
        current = self.journal.current
        return {
            "node": self.config.name,
            "role": self.config.role,
            "boot": self.env.boot,
            "primary": self.lease.holder if self.lease else None,
            "epoch": self.lease.epoch if self.lease else None,
            "seen": self.seen,
            "hears": {view.node: view.state for view in self.views.values()},
            "follows": {view.node: view.streaming for view in self.views.values()},
            "step": current.next if current else None,  # which is tried now
            "done": sum(record.next is None for record in self.journal.failovers),
            "failovers": [msgspec.to_builtins(record) for record in self.journal.failovers[-5:]],
            "error": self.error,
        }
