"""The witness: a third place that decides with others who may act as primary. It sees no data and serves no users."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from aiohttp import web

from reference_impl.config import NodeConfig
from reference_impl.durable import replace_file
from reference_impl.role import Env
from reference_impl.web import Site, error_response, json_response
from reference_impl.witness.leases import Lease, Leases

LONGEST_TTL: Final = 60.0  # s
BOOK: Final = "leases.json"


class WitnessSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a request. `ttl` in s; 0 lets the lease go."""

    holder: Annotated[str, msgspec.Meta(min_length=1)]
    epoch: Annotated[int, msgspec.Meta(ge=1)]
    ttl: Annotated[float, msgspec.Meta(ge=0, le=LONGEST_TTL)]


class Witness:
    """A `Role`. What it promised is on disk before it is said."""

    def __init__(self, config: NodeConfig, env: Env) -> None:
        self.config = config
        self.env = env
        config.settings_as(WitnessSettings)
        self.leases = Leases()
        self._book = Path(config.state_dir) / BOOK
        self.site = Site(self._status, lambda: None)
        self.site.get("/leases/{name}", self._look)
        self.site.add("POST", "/leases/{name}", self._ask)

    def __repr__(self) -> str:
        return f"<Witness {self.config.name} {self.leases!r}>"

    async def start(self) -> None:
        if self._book.exists():
            kept = msgspec.json.decode(self._book.read_bytes(), type=dict[str, Lease])
            self.leases.load(kept, self._now())
        await self.site.start(self.config.listen.host, self.config.listen.port)

    async def stop(self) -> None:
        await self.site.stop()

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    async def _look(self, request: web.Request) -> web.Response:
        return json_response(self.leases.look(request.match_info["name"], self._now()))

    async def _ask(self, request: web.Request) -> web.Response:
        try:
            asked = msgspec.json.decode(await request.read(), type=Asked)
        except msgspec.DecodeError as error:
            return error_response(400, f"not a request for a lease: {error}")
        name, before, now = request.match_info["name"], self.leases.book, self._now()
        if not asked.ttl:
            self.leases.release(name, asked.holder, asked.epoch, now)
            return json_response(self.leases.look(name, now))
        answer = self.leases.ask(name, asked.holder, asked.epoch, asked.ttl, now)
        if self.leases.book != before:
            self._keep()
        return json_response(answer)

    def _keep(self) -> None:
        """A few hundred bytes, and seldom: a renewal changes nothing in the book."""
        replace_file(self._book, msgspec.json.encode(self.leases.book))

    def _status(self) -> dict[str, Any]:
        now = self._now()
        return {
            "node": self.config.name,
            "role": self.config.role,
            "boot": self.env.boot,
            "leases": {
                name: msgspec.structs.asdict(self.leases.look(name, now))
                for name in self.leases.book
            },
        }
