"""The lead of a PoP with workers: does all that a PoP does but for the data path, which its workers do from its store."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn

import msgspec
from aiohttp import web

from reference_impl.pop.levels import CHAIN
from reference_impl.pop.popularity.counting import Report
from reference_impl.pop.response import response
from reference_impl.pop.role import Pop
from reference_impl.pop.shared.hot import HotFlags
from reference_impl.pop.shared.passing import EVALUATIONS
from reference_impl.pop.shared.store import SharedStore
from reference_impl.pop.shared.writer import Writer
from reference_impl.web import Site, error_response, json_response

if TYPE_CHECKING:
    import socket

    from reference_impl.config import NodeConfig
    from reference_impl.evaluation import CompiledFlag
    from reference_impl.pop.ofrep import Route
    from reference_impl.pop.response import Answer, Headers
    from reference_impl.pop.shared.arena import Arena
    from reference_impl.pop.shared.scaling import Scaling
    from reference_impl.pop.status import PopStatus
    from reference_impl.propagation.types import FlagState
    from reference_impl.role import Env

TICK: Final = 0.1  # s between looks for memory that nobody reads any more
LEAD: Final = 0  # its number as a reader; workers count from 1


class LeadFlags(HotFlags):
    """The lead's own view: it answers what workers can't, such as flags that only the origin has."""

    def __init__(self, arena: Arena, store: SharedStore, limit: int) -> None:
        super().__init__(arena, LEAD, limit)
        self.store = store

    def get(self, org: str, key: str) -> CompiledFlag | None:
        """See `HotFlags.get`, at the newest root."""
        self.pin()
        return super().get(org, key)

    def keys(self, org: str) -> list[str]:
        """See `HotFlags.keys`, at the newest root."""
        self.pin()
        return super().keys(org)

    def knows(self, org: str, key: str) -> bool:
        """See `HotFlags.knows`, at the newest root."""
        self.pin()
        return super().knows(org, key)

    def keep_ahead(self, org: str, key: str, state: FlagState) -> CompiledFlag | None:
        """See `CompiledFlags.keep_ahead`; all workers have it from then on."""
        return self.get(org, key) if self.store.keep_ahead(org, key, state) else None

    async def run(self) -> NoReturn:
        """Give memory back in the background, until cancelled."""
        while True:
            await asyncio.sleep(TICK)
            self.pin()
            self.store.writer.reclaim()


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `POST /scale`: so many workers more, and the share of kept connections to let go."""

    workers: Annotated[int, msgspec.Meta(ge=0)] = 0
    shed: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0


class Lead(Pop):
    """A `Pop` that publishes its flags and its level to its workers, and listens for what they pass on."""

    raw = True
    counts_all = False
    store: SharedStore

    def __init__(
        self,
        config: NodeConfig,
        env: Env,
        arena: Arena,
        listener: socket.socket,
        scaling: Scaling | None = None,
    ) -> None:
        self._arena = arena
        self._listener = listener
        self.scaling = scaling
        super().__init__(config, env)
        self.control = Site(self._told, lambda: self.fanout.unready)
        self.control.add("POST", "/scale", self._scale)

    async def start(self) -> None:
        """See `Role.start`."""
        policy = self.settings.autoscale
        if self.scaling is not None and policy is not None:
            await self.control.start(self.config.listen.host, policy.control_port)
            self._tasks.start(self.scaling.run, "scaling")
        await super().start()

    async def stop(self) -> None:
        """See `Role.stop`."""
        await self.control.stop()
        await super().stop()

    def make_routes(self) -> dict[bytes, Route]:
        """See `Pop.make_routes`."""
        own: dict[bytes, Route] = {EVALUATIONS: self._evaluations}
        return super().make_routes() | own

    async def _scale(self, request: web.Request) -> web.Response:
        """What the controller of hot spots asks for."""
        assert self.scaling is not None
        try:
            asked = msgspec.json.decode(await request.read(), type=Asked)
        except msgspec.DecodeError as error:
            return error_response(400, f"nothing to scale by: {error}")
        if asked.workers:
            self.scaling.boost(asked.workers)
        if asked.shed:
            self.scaling.shed(asked.shed)
        return json_response(self.scaling.status())

    def _told(self) -> dict[str, Any]:
        told: dict[str, Any] = msgspec.to_builtins(self.status())
        return told

    def status(self) -> PopStatus:
        """See `Pop.status`."""
        told = self.scaling.status() if self.scaling is not None else None
        return msgspec.structs.replace(super().status(), scaling=told)

    def make_store(self) -> SharedStore:
        """See `Pop.make_store`."""
        return SharedStore(Writer(self._arena), self.settings.ring)

    def make_flags(self) -> LeadFlags:
        """See `Pop.make_flags`."""
        return LeadFlags(self._arena, self.store, self.settings.hot)

    def make_listener(self) -> socket.socket:
        """See `Pop.make_listener`."""
        return self._listener

    def admit(self, org: str) -> float:  # noqa: ARG002 - the worker that passed it on has asked
        """See `Pop.admit`."""
        return 0.0

    def _evaluations(
        self, _method: bytes, _target: bytes, _headers: Headers, body: bytes
    ) -> Answer:
        """A worker tells what it evaluates, and is told what is hot."""
        report = msgspec.json.decode(body, type=Report)
        return response(HTTPStatus.OK, msgspec.json.encode(self.watch.orders(report)))

    def level_changed(self, _: object) -> None:
        """See `Pop.level_changed`."""
        super().level_changed(_)
        self.store.writer.publish_level(CHAIN.index(self.level))
