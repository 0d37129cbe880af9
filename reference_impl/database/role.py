"""The database node: one PostgreSQL server and the agent beside it.

The agent keeps its server what the witnesses say that it is. While a majority of them renews its lease, its server is the
primary; without, it stops the server before the lease has run out, so that nobody can be promoted beside it. All others
follow the holder of the newest lease: cloned when empty, rewound when they have what it has not. It never promotes of its
own accord: that is for whoever sees more than one node (`reference_impl.failover`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from aiohttp import web

from reference_impl.alerts.sender import AlertSender
from reference_impl.config import ConfigError, NodeConfig, Upstream
from reference_impl.database.server import Look, PostgresServer
from reference_impl.database.settings import DatabaseNodeSettings
from reference_impl.programs import ProgramError
from reference_impl.resilience.errors import CallError
from reference_impl.resilience.http import HttpClient
from reference_impl.role import Env
from reference_impl.web import Site, Tasks, error_response, json_response
from reference_impl.witness.quorum import Quorum, View

EMPTY, PRIMARY, STANDBY, FENCED, DOWN = "empty", "primary", "standby", "fenced", "down"
MOST_CHANGES: Final = 50
OTHERS_TURN: Final = (
    2.0  # leases; a controller needs less than one to see that the lease was given up
)


class Promotion(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `POST /promote`: the epoch in which this node is to be primary."""

    epoch: int


class Change(msgspec.Struct, frozen=True):
    """The agent changed what its server is. `at`: ns of the monotonic clock."""

    n: int
    at: int
    state: str
    reason: str


class Database:
    """A `Role`. Links: "db" to the servers of all others, "peer" to their agents, "witness", "alerts"."""

    def __init__(self, config: NodeConfig, env: Env) -> None:
        self.config = config
        self.env = env
        self.settings = config.settings_as(DatabaseNodeSettings)
        witnesses = config.upstreams("witness")
        if not witnesses:
            raise ConfigError(f"{config.name}: role {config.role} needs links with use 'witness'")
        self._http = HttpClient()
        self.quorum = Quorum(
            witnesses, self.settings.resource, self._http, self.settings.ask_timeout
        )
        self.server = PostgresServer(
            config.name,
            Path(config.state_dir),
            config.listen.host,
            self.settings.port,
            self.settings.server,
        )
        self.sources: Mapping[str, Upstream] = {link.to: link for link in config.upstreams("db")}
        self.alerts = AlertSender(config.name, config.upstreams("alerts"), self._http, env)
        self.state = EMPTY
        self.epoch = 0
        self.following = ""
        self.error = ""
        self.look: Look | None = None
        self.sees: dict[str, bool] = {}
        self.changes: list[Change] = []
        self._until = 0.0  # the lease is ours, loop time
        self._silent_since: float | None = None
        self._resting = 0.0  # until when it leaves the lease to others, loop time
        self._lock = asyncio.Lock()
        self._tasks = Tasks()
        self.site = Site(self._status, lambda: None)
        self.site.add("POST", "/promote", self._promote)
        self.site.add("POST", "/demote", self._demote)

    def __repr__(self) -> str:
        return f"<Database {self.config.name} {self.state} epoch={self.epoch} {self.server!r}>"

    @property
    def accepting(self) -> bool:
        """Primary, by its own server's word and for as long as the lease lasts."""
        leased = asyncio.get_running_loop().time() < self._until or not self.settings.fence
        return self.state == PRIMARY and leased and self.look is not None and not self.look.recovery

    @property
    def name(self) -> str:
        return self.config.name

    async def start(self) -> None:
        self._tasks.start(self._keep_lease, "lease")
        self._tasks.start(self._keep_server, "server")
        self._tasks.start(self._watch, "watch")
        self._tasks.start(self.alerts.run, "alerts")
        await self.site.start(self.config.listen.host, self.config.listen.port)

    async def stop(self) -> None:
        """A primary that is told to stop says so: its lease need not run out first."""
        await self._tasks.stop()
        was_primary = self.state == PRIMARY
        await self.server.stop(hard=False)
        if was_primary:
            await self.quorum.release(self.name, self.epoch)
        await self.site.stop()
        await self._http.close()

    # -------------------------------------------------------------------------------------------------- the lease

    async def _keep_lease(self) -> None:
        """While primary: ask anew each `renew`, and stop the server before a lease that is not renewed has run out."""
        loop = asyncio.get_running_loop()
        while True:
            if self.state == PRIMARY:
                until = await self.quorum.acquire(self.name, self.epoch, self.settings.lease)
                if until is not None:
                    self._until = until
                elif self.settings.fence and loop.time() > self._until - self.settings.margin:
                    await self._fence("no majority of the witnesses renews the lease")
            await asyncio.sleep(self.settings.renew)

    async def _fence(self, reason: str) -> None:
        if self.state != PRIMARY:
            return
        self._become(FENCED, reason)
        await self.server.stop(hard=True)
        self.alerts("DATABASE_FENCED", {"node": self.name, "epoch": self.epoch})

    # ------------------------------------------------------------------------------------------------- the server

    async def _keep_server(self) -> None:
        while True:
            try:
                async with self._lock:
                    await self._step(await self.quorum.view())
                self.error = ""
            except (ProgramError, OSError) as error:  # its disk may be full
                self.error = str(error)
            await asyncio.sleep(self.settings.tick)

    async def _step(self, view: View | None) -> None:
        """Bring the server nearer to what the witnesses say that it is. Raises `ProgramError`; it is called again."""
        if self.state == PRIMARY:
            if not self.server.running:  # it crashed by itself, and the lease is still ours
                await self._restart()
        elif view is None:
            return  # nobody can know who is primary; a standby goes on with what it has
        elif not view.holder:
            if self.settings.first:
                await self._found()
        elif view.holder == self.name:
            if asyncio.get_running_loop().time() >= self._resting:
                await self._resume(view.epoch)
        elif view.holder in self.sources:
            await self._follow(self.sources[view.holder])

    async def _restart(self) -> None:
        """Where it does not start again (its disk is full, its data are damaged), another is to be primary, at once. Raises `ProgramError`."""
        try:
            await self.server.start()
        except ProgramError as error:
            self._resting = asyncio.get_running_loop().time() + OTHERS_TURN * self.settings.lease
            await self._fence(f"its server does not start: {error}")
            await self.quorum.release(self.name, self.epoch)
            raise

    async def _found(self) -> None:
        """The first primary of all. A server that has data, though no witness knows of any, is not touched."""
        if not self.server.has_data:
            await self.server.make()
        await self._resume(1)

    async def _resume(self, epoch: int) -> None:
        """Be primary in an epoch that is, or can become, ours, with the data that are here."""
        if not self.server.has_data:
            return
        until = await self.quorum.acquire(self.name, epoch, self.settings.lease)
        if until is None:
            return
        self._until, self.epoch = until, epoch
        if not self.server.running:
            self.server.configure(None, self._witnessing())
            self.server.be_standby(standby=False)
            self._become(PRIMARY, f"the lease of epoch {epoch} is ours")
            await self.server.start()

    def _witnessing(self) -> tuple[str, ...]:
        return tuple(name for name in self.settings.synchronous if name != self.name)

    async def _follow(self, source: Upstream) -> None:
        if self.server.running:
            await self._check_following(source)
            return
        if not self.server.has_data:
            await self.server.clone(source)
        elif not self.server.is_standby:
            await self._rejoin(source)
        self.server.configure(source, ())
        self.server.be_standby(standby=True)
        await self.server.start()
        self.following, self._silent_since = source.to, None
        self._become(STANDBY, f"follows {source.to}")

    async def _rejoin(self, source: Upstream) -> None:
        """It may have what the primary has not."""
        try:
            await self.server.rewind(source)
        except ProgramError as error:
            print(f"{self.name}: rewind: {error}; cloned anew", flush=True)
            await self.server.clone(source)

    async def _check_following(self, source: Upstream) -> None:
        look = await self.server.look()
        self.look = look
        now = asyncio.get_running_loop().time()
        if not look.recovery:
            await self.server.stop(
                hard=True
            )  # a primary without the lease; the next step rewinds it
            self._become(DOWN, "not in recovery, and another is primary")
        elif self.following != source.to:
            self.server.configure(source, ())
            self.following, self._silent_since = source.to, None
            self._become(STANDBY, f"follows {source.to}")
        elif look.streaming:
            self._silent_since = None
        elif self._silent_since is None:
            self._silent_since = now
        elif now - self._silent_since > self.settings.stuck and self.sees.get(source.to):
            await self.server.stop(hard=False)
            self.server.be_standby(
                standby=False
            )  # what it has is not trusted: the next step rewinds it
            self._silent_since = None
            self._become(DOWN, f"nothing came from {source.to} for {self.settings.stuck:g} s")

    async def _promote(self, request: web.Request) -> web.Response:
        """`POST /promote {"epoch": n}`: 200 when it is primary in that epoch, 409 with a reason when it can't be (yet)."""
        try:
            epoch = msgspec.json.decode(await request.read(), type=Promotion).epoch
        except msgspec.DecodeError as error:
            return error_response(400, f"not a promotion: {error}")
        async with self._lock:
            if self.state == PRIMARY and self.epoch == epoch:
                return json_response(self._status())
            if self.state != STANDBY:
                return error_response(409, f"{self.name} is {self.state}")
            until = await self.quorum.acquire(self.name, epoch, self.settings.lease)
            if until is None:
                return error_response(409, f"the lease of epoch {epoch} is not to be had yet")
            self._until, self.epoch = until, epoch
            self._become(PRIMARY, f"promoted in epoch {epoch}")
            try:
                await self._open()
            except ProgramError as error:
                self.error = str(error)
                await self._fence(f"not promoted: {error}")
                return error_response(409, str(error))
        self.following = ""
        self.look = None
        return json_response(self._status())

    async def _open(self) -> None:
        """From standby to a primary that takes writes. Raises `ProgramError`."""
        if not self.settings.jump:
            self.server.configure(None, self._witnessing())
            await self.server.promote()
            return
        self.server.configure(None, (), closed=True)
        await self.server.promote()
        await self.server.jump(self.settings.jump)
        self.server.configure(None, self._witnessing())

    async def _demote(self, request: web.Request) -> web.Response:
        """`POST /demote`: a primary hands over. Its server ends as one that has told its standbys everything, and its lease goes."""
        del request
        async with self._lock:
            if self.state != PRIMARY:
                return error_response(409, f"{self.name} is {self.state}")
            self._become(DOWN, "told to hand over")
            self._resting = asyncio.get_running_loop().time() + self.settings.lease
            await self.server.stop(hard=False)
            await self.quorum.release(self.name, self.epoch)
        return json_response(self._status())

    # -------------------------------------------------------------------------------------------- what is seen

    async def _watch(self) -> None:
        """Look at the own server and at the other agents, for whoever asks this node what it sees."""
        while True:
            await asyncio.gather(
                self._look(), *(self._see(x) for x in self.config.upstreams("peer"))
            )
            await asyncio.sleep(self.settings.renew)

    async def _look(self) -> None:
        if not self.server.running:
            self.look = None
            return
        try:
            self.look = await self.server.look()
        except ProgramError:
            self.look = None

    async def _see(self, peer: Upstream) -> None:
        try:
            await self._http.request("GET", f"{peer.url}/health", within=self.settings.ask_timeout)
        except CallError:
            self.sees[peer.to] = False
        else:
            self.sees[peer.to] = True

    def _become(self, state: str, reason: str) -> None:
        self.state = state
        at = round(asyncio.get_running_loop().time() * 1e9)
        self.changes.append(Change(len(self.changes), at, state, reason))
        del self.changes[:-MOST_CHANGES]
        with contextlib.suppress(OSError):  # a log that can't be written is no reason to end
            print(f"{self.name}: {state}: {reason}", flush=True)

    def _status(self) -> dict[str, Any]:
        look = self.look
        now = asyncio.get_running_loop().time()
        return {
            "node": self.name,
            "role": self.config.role,
            "boot": self.env.boot,
            "state": self.state,
            "accepting": self.accepting,
            "epoch": self.epoch,
            "lease_left": round(max(0.0, self._until - now), 3) if self.state == PRIMARY else 0.0,
            "following": self.following,
            "lsn": look.lsn if look else 0,
            "timeline": look.timeline if look else 0,
            "streaming": bool(look and look.streaming),
            "replicas": look.replicas if look else {},
            "readers": look.readers if look else {},
            "sees": self.sees,
            "changes": [msgspec.structs.asdict(change) for change in self.changes[-5:]],
            "error": self.error,
        }
