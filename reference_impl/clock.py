"""The platform's calendar, which a test can move forward: ninety days of backups in minutes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated

import msgspec
from aiohttp import web

from reference_impl.web import Site, error_response, json_response

NS = 1_000_000_000


class Advance(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `POST /clock`: s to move on by. Time never goes back."""

    advance_s: Annotated[float, msgspec.Meta(ge=0)]


class PlatformClock:
    """Wall time plus what it was moved by. For calendars only: timeouts and intervals come from the running loop."""

    def __init__(self, wall_ns: Callable[[], int]) -> None:
        self._wall_ns = wall_ns
        self.offset = 0  # ns

    def __repr__(self) -> str:
        return f"<PlatformClock {stamp(self.now())} moved={self.offset / NS:g}s>"

    def now(self) -> int:
        """Unix time in ns."""
        return self._wall_ns() + self.offset

    def advance(self, seconds: float) -> None:
        self.offset += round(seconds * NS)

    def serve(self, site: Site, moved: Callable[[], None]) -> None:
        """`POST /clock` on a site; `moved` is called before the answer, so that what became due is known by then."""

        async def handle(request: web.Request) -> web.Response:
            try:
                step = msgspec.json.decode(await request.read(), type=Advance)
            except msgspec.DecodeError as error:
                return error_response(400, str(error))
            self.advance(step.advance_s)
            moved()
            return json_response({"now": stamp(self.now()), "offset_s": self.offset / NS})

        site.add("POST", "/clock", handle)


def stamp(ns: int) -> str:
    """Unix time in ns as "20261124T190000.000Z": sorts as the times do."""
    at = datetime.fromtimestamp(ns // NS, UTC)
    return f"{at:%Y%m%dT%H%M%S}.{ns % NS // 1_000_000:03}Z"
