"""A node that stands by with nothing and becomes a database from object storage when it is told to: `POST /restore`."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Annotated, Any

import msgspec
from aiohttp import web

from reference_impl.backup.programs import PostgresPrograms, Programs, ProgramSettings
from reference_impl.backup.restore import RestoreError, RestorePoint, restore
from reference_impl.backup.server import Server, ServerError, ServerSettings
from reference_impl.config import NodeConfig
from reference_impl.objectstore.http import HttpObjectStore, StoreSettings
from reference_impl.resilience.http import HttpClient
from reference_impl.role import Env
from reference_impl.web import Site, error_response, json_response


class RestorerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`jump`: by so much the log's position goes on after a restore, for others may have seen what was not restored (compare
    `DatabaseNodeSettings`). Whoever restores leads writers here only afterwards.
    """

    jump: Annotated[int, msgspec.Meta(ge=0)] = 0
    store: StoreSettings = StoreSettings()
    postgres: ProgramSettings = ProgramSettings()
    server: ServerSettings = ServerSettings()


class Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `POST /restore`; empty for all that there is. `until`: Unix ns."""

    until: int | None = None


class Restored(msgspec.Struct, frozen=True):
    """Its answer. `fetched_s`: until the data directory was complete; `took_s`: until writes are taken."""

    point: RestorePoint
    fetched_s: float
    took_s: float


class Restorer:
    """A `Role`. Links: "store", each location, the preferred first. The database listens at this node's address, port 5432."""

    def __init__(self, config: NodeConfig, env: Env, programs: Programs | None = None) -> None:
        self.config = config
        self.env = env
        self.settings = settings = config.settings_as(RestorerSettings)
        self.programs = programs or PostgresPrograms(settings=settings.postgres)
        self.http = HttpClient()
        self.stores = [
            HttpObjectStore(link, settings.store, self.http, env.random)
            for link in config.upstreams("store")
        ]
        self.data_dir = (Path(config.state_dir) / "data").absolute()
        self.server = Server(self.data_dir, config.listen.host, settings.server)
        self.restored: Restored | None = None
        self.error = ""
        self._busy = asyncio.Lock()
        self.site = Site(self._status, self._unready)
        self.site.add("POST", "/restore", self._order)

    def __repr__(self) -> str:
        return f"<Restorer {self.config.name} {self.server!r} {self.error or 'well'}>"

    async def start(self) -> None:
        await self.site.start(self.config.listen.host, self.config.listen.port)

    async def stop(self) -> None:
        await asyncio.gather(self.site.stop(), self.server.stop())
        await self.http.close()

    async def restore(self, until: int | None = None) -> Restored:
        """What is there of an earlier restore goes. Raises `RestoreError` or `ServerError`."""
        async with self._busy:
            loop = asyncio.get_running_loop()
            begun = loop.time()
            await self.server.stop()
            shutil.rmtree(self.data_dir, ignore_errors=True)
            point = await self.make_data_dir(until)
            fetched = loop.time() - begun
            await self.server.start()
            if self.settings.jump:
                await self.server.jump(self.settings.jump)
            self.restored = Restored(point, fetched, loop.time() - begun)
            return self.restored

    async def make_data_dir(self, until: int | None) -> RestorePoint:
        return await restore(self.stores, self.data_dir, self.programs, until)

    def _status(self) -> dict[str, Any]:
        return {
            "node": self.config.name,
            "role": self.config.role,
            "boot": self.env.boot,
            "running": self.server.running,
            "restored": self.restored,
            "error": self.error,
        }

    def _unready(self) -> str | None:
        return None if self.server.running else "nothing was restored here"

    async def _order(self, request: web.Request) -> web.Response:
        try:
            order = msgspec.json.decode(await request.read() or b"{}", type=Order)
        except msgspec.DecodeError as error:
            return error_response(400, str(error))
        try:
            done = await self.restore(order.until)
        except (RestoreError, ServerError) as error:
            self.error = str(error)
            return error_response(503, str(error))
        self.error = ""
        return json_response(done)
