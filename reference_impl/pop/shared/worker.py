"""A worker of a PoP: the data path alone. It answers from the shared store, and passes on to the lead what it can't answer."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import msgspec

from reference_impl.pop.flag_value import Defaults, Fallback
from reference_impl.pop.http import (
    Answer,
    Headers,
    HttpServer,
    ResponseWriter,
    refusal,
    response,
)
from reference_impl.pop.levels import Level
from reference_impl.pop.ofrep import BULK, SINGLE, Ofrep, Route
from reference_impl.pop.popularity.counting import Orders, Popularity, Report
from reference_impl.pop.role import STOP_WITHIN, PopSettings
from reference_impl.pop.shared.headcount import Headcount
from reference_impl.pop.shared.hot import HotFlags
from reference_impl.pop.shared.passing import EVALUATIONS
from reference_impl.pop.status import NS
from reference_impl.pop.tenants import Tenants
from reference_impl.web import Tasks

if TYPE_CHECKING:
    from collections.abc import Collection

    from reference_impl.config import NodeConfig
    from reference_impl.evaluation import Clock, CompiledFlag
    from reference_impl.pop.response import Endpoint
    from reference_impl.pop.shared.arena import Arena
    from reference_impl.pop.shared.passing import ToLead
    from reference_impl.role import Env

TICK: Final = (
    0.05  # s between looks for news without requests, so that old memory can be given back
)


LINGER: Final = 0.5  # s that a connection may take to be made


class WorkerOfrep(Ofrep):
    """OFREP; a flag that is not in the store is the lead's to find, and so is all that is not OFREP."""

    def __init__(self, view: Worker, lead: ToLead) -> None:
        own: dict[bytes, Route] = {
            b"/health": _health,
            b"/announce": view.announce,
            EVALUATIONS: _nothing,
        }
        super().__init__(view, own, view.popularity)
        self.who["worker"] = view.index
        self._lead = lead

    async def _load(
        self, org: str, key: str, context: dict[str, Any], writer: ResponseWriter
    ) -> None:
        target = SINGLE + quote(key, safe="").encode()
        headers = {b"x-org-id": org.encode(errors="replace")}
        body = msgspec.json.encode({"context": context})
        await self._lead.pass_on(writer, b"POST", target, headers, body)

    def _other(self, method: bytes, target: bytes, headers: Headers) -> Endpoint:
        if target.partition(b"?")[0] in self._routes:
            return super()._other(method, target, headers)
        return partial(self._pass_on, method, target, headers)

    def _pass_on(self, method: bytes, target: bytes, headers: Headers, body: bytes) -> Answer:
        async def later(writer: ResponseWriter) -> None:
            await self._lead.pass_on(writer, method, target, headers, body)

        return later


@dataclass(frozen=True, slots=True)
class Place:
    """A worker's among others: `index` counts from 0, `door` is where it accepts. `end` ends this process in order."""

    index: int
    door: socket.socket
    headcount: Headcount
    end: Callable[[], None]


class Worker:
    """A `Role`, and the `View` of its own data path.

    A request is answered as of the root that `admit` pinned; nothing that is read later in it is newer.
    """

    def __init__(
        self,
        config: NodeConfig,
        env: Env,
        place: Place,
        arena: Arena,
        lead: ToLead,
    ) -> None:
        self.config = config
        self.env = env
        self.clock: Clock = self._wall_clock
        self.index = place.index
        settings = config.settings_as(PopSettings)
        self.defaults = Defaults(settings.defaults)
        self.hot = self.make_flags(arena, settings.hot)
        self.popularity = Popularity(settings.popularity)
        self.tenants = Tenants(settings.tenants, Level.EMERGENCY)
        self.server = HttpServer(WorkerOfrep(self, lead), quick=BULK)
        self._lead = lead
        self._place = place
        self._headcount = place.headcount
        self._counter = place.headcount.counter(place.index)
        self._known = place.headcount.reachable  # workers that connections go to
        self.tenants.share = 1 / max(self._known, 1)
        self._shed = place.headcount.asked_to_shed[0]
        self._leave_within = settings.autoscale.leave_within if settings.autoscale else 0.0
        self._tasks = Tasks()

    def __repr__(self) -> str:
        return f"<Worker {self.index} of {self.config.name} {self.hot!r}>"

    def make_flags(self, arena: Arena, limit: int) -> HotFlags:
        """The store as it sees it; a variant of the platform replaces this."""
        return HotFlags(arena, self.index + 1, limit)

    async def start(self) -> None:
        """See `Role.start`."""
        self.hot.pin()
        await self.server.start(self._place.door)
        self._headcount.serve(self.index, yes=True)
        self._tasks.start(self._follow, "follow")
        self._tasks.start(self._report, "popularity")

    async def stop(self) -> None:
        """See `Role.stop`."""
        await self._tasks.stop()
        await self.server.close(STOP_WITHIN)

    async def _follow(self) -> None:
        staying = True
        while True:
            await asyncio.sleep(TICK)
            self.hot.pin()
            self._make_room()
            if staying and self.index >= self._headcount.wanted:
                staying = False
                self._tasks.start(self.leave, "leaving")

    def _make_room(self) -> None:
        """Where others have come, their share of the connections that were kept here goes to them; so does what is asked for."""
        before, self._known = self._known, self._headcount.reachable
        self.tenants.share = 1 / max(self._known, 1)
        if before < self._known:
            self._let_go(1 - before / self._known)
        turn, share = self._headcount.asked_to_shed
        if turn != self._shed:
            self._shed = turn
            self._let_go(share)

    def _let_go(self, share: float) -> None:
        self.server.retire(lambda: self.env.random.random() < share)

    async def leave(self) -> None:
        """End what was begun here, then this process. New connections go to others by now, but for some on their way."""
        self._headcount.serve(self.index, yes=False)
        await self.server.leave(LINGER, self._leave_within)
        self._place.end()

    async def _report(self) -> None:
        """Tell the lead what is evaluated here, and take up what is hot in all workers together."""
        while True:
            await asyncio.sleep(self.popularity.settings.window)
            rates = [(org, key, rate) for (org, key), rate in self.popularity.take().items()]
            report = msgspec.json.encode(Report(self.index, rates))
            answer = await self._lead.ask(EVALUATIONS, report)
            if answer is None:
                continue  # the node ends with its lead
            orders = msgspec.json.decode(answer, type=Orders)
            self.popularity.set_hot(frozenset(orders.hot))
            self.hot.pin()
            for org, key in orders.warm:
                self.hot.get(org, key)

    # -- the data path's view ----------------------------------------------------------------------------------------

    @property
    def node(self) -> str:
        return self.config.name

    @property
    def level(self) -> Level:
        return self.hot.level

    @property
    def seq(self) -> int:
        return self.hot.root.seq

    def _wall_clock(self) -> float:
        return self.env.wall_ns() / NS

    def admit(self, org: str) -> float:
        """See `View.admit`. Counted is what is asked for, however it is answered."""
        self._counter[0] += 1
        self.hot.pin()
        tenants = self.tenants
        if tenants.level is not self.hot.level:
            tenants.at(self.hot.level)
        return tenants.wait(org) if tenants.limiting else 0.0

    def flag(self, org: str, key: str) -> CompiledFlag | None:
        """See `View.flag`."""
        return self.hot.get(org, key)

    def keys(self, org: str) -> Collection[str]:
        """See `View.keys`."""
        return self.hot.keys(org)

    async def load(self, org: str, key: str) -> CompiledFlag | Fallback | None:
        """Never called: a worker's requests for other flags are passed on whole."""
        raise NotImplementedError(f"{org}/{key}: the lead asks the origin")

    def announce(self, method: bytes, *_: object) -> Answer:
        """As `Pop` answers it."""
        if method not in (b"GET", b"HEAD"):
            return refusal(HTTPStatus.METHOD_NOT_ALLOWED)
        self.hot.pin()
        if self.level is Level.EMERGENCY:
            return response(HTTPStatus.SERVICE_UNAVAILABLE, b'{"error":"only defaults are left"}')
        return response(HTTPStatus.OK, b"announced", b"text/plain")


def _nothing(*_: object) -> Answer:
    return refusal(HTTPStatus.NOT_FOUND)


def _health(method: bytes, *_: object) -> Answer:
    if method not in (b"GET", b"HEAD"):
        return refusal(HTTPStatus.METHOD_NOT_ALLOWED)
    return response(HTTPStatus.OK, b"ok", b"text/plain")
