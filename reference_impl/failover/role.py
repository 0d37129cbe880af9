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
from typing import Annotated, Any, Final

import msgspec

from reference_impl.alerts.sender import AlertSender
from reference_impl.config import NodeConfig, Upstream
from reference_impl.failover import journal as steps
from reference_impl.failover.journal import Failover as Record
from reference_impl.failover.journal import Journal
from reference_impl.failover.view import NodeView, alive, best
from reference_impl.resilience.errors import CallError
from reference_impl.resilience.http import HttpClient
from reference_impl.role import Env
from reference_impl.web import Site, Tasks
from reference_impl.witness.quorum import Quorum, View

Positive = Annotated[float, msgspec.Meta(gt=0)]
PROMOTE_WITHIN: Final = 25.0  # s
SMOKE: Final = "/v1/orgs/$smoke/flags/failover"


class FailoverSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Times in s. `suspect`: for how long nobody may have seen the primary before it counts as lost.

    `candidates`: the databases in order of preference. `standbys_needed`: how many must be heard before one is chosen.
    """

    resource: str = "primary"
    candidates: tuple[str, ...] = ()
    standbys_needed: int = 1
    poll: Positive = 0.5
    ask_timeout: Positive = 0.75
    suspect: Positive = 2.0
    smoke_timeout: Positive = 3.0


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
        heard = ", ".join(f"{v.node} {v.state}" for v in self.views.values()) or "no database"
        self.alerts("PRIMARY_FAILURE_DETECTED", {"lost": record.lost, "epoch": record.epoch})
        return f"{record.lost} is lost; heard: {heard}"

    async def _promote(self, record: Record) -> str:
        """Whoever has most of the log. That another was promoted meanwhile, or the lost one is back, ends it as well."""
        if self.lease is None:
            raise CallError("UNKNOWN", "no majority of the witnesses answers")
        holder = self.views.get(self.lease.holder)
        if holder is not None and holder.state == "primary" and holder.accepting:
            record.new, record.epoch = holder.node, self.lease.epoch
            return f"{holder.node} is primary in epoch {self.lease.epoch}"
        record.epoch = self.lease.epoch + 1
        chosen = best(
            record.lost, self.views, self.settings.candidates, self.settings.standbys_needed
        )
        if chosen is None:
            raise CallError("UNKNOWN", f"{len(self.views)} databases answer, too few to choose")
        if self.lease.left > 0 and self.lease.holder != chosen:
            raise CallError(
                "UNKNOWN", f"the lease of {self.lease.holder} has {self.lease.left:.1f} s left"
            )
        link = next(database for database in self.databases if database.to == chosen)
        body = msgspec.json.encode({"epoch": record.epoch})
        await self._http.request("POST", f"{link.url}/promote", body=body, within=PROMOTE_WITHIN)
        record.new = chosen
        return f"{chosen} is primary in epoch {record.epoch}"

    async def _update_dns(self, record: Record) -> str:
        return f"every database is behind the same name; nothing to update for {record.new}"

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
        origin = self.config.upstreams("origin")
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

    async def _resolve(self, record: Record) -> str:
        self.alerts(
            "FAILOVER_COMPLETE",
            {"lost": record.lost, "primary": record.new, "epoch": record.epoch},
        )
        self._lost_since = None
        return "operators told"

    def _status(self) -> dict[str, Any]:
        return {
            "node": self.config.name,
            "role": self.config.role,
            "boot": self.env.boot,
            "primary": self.lease.holder if self.lease else None,
            "epoch": self.lease.epoch if self.lease else None,
            "seen": self.seen,
            "done": sum(record.next is None for record in self.journal.failovers),
            "failovers": [msgspec.to_builtins(record) for record in self.journal.failovers[-5:]],
            "error": self.error,
        }
