"""A client behind an HTTP cache, as RFC 9111 has it: what an answer allows to be kept is not asked for again.

An answer to POST may be used for a later GET of the same target where it says for how long, and that it is what GET
would answer (RFC 9110, 9.3.3: `Content-Location`). What is too old is asked for by GET with its ETag; where that is
refused, as for a flag that may no longer be kept, by POST again.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Protocol

import msgspec

from harness.probes.http import Response
from harness.units import NS, now_ns

if TYPE_CHECKING:
    from collections.abc import Mapping


NOT_MODIFIED = 304
_OK = 200
_MAX_AGE = re.compile(r"(?:^|[\s,])max-age=(\d+)")
_PUBLIC = re.compile(r"(?:^|[\s,])public(?:$|[\s,])")


class Requests(Protocol):
    """What sends requests: a client, or one with a cache before it."""

    async def request(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        timeout: float = 1.0,  # noqa: ASYNC109 - as the client's
        fresh: bool = False,
    ) -> Response:
        """As `Client.request`."""
        ...


class _Kept(msgspec.Struct, frozen=True):
    """An answer and until when it is fresh, ns on the monotonic clock; its age counts from when it was asked for."""

    response: Response
    asked: int
    until: int


class CachingClient:
    """A shared cache before `client`. An answer from it has the header `age`, in s, and no other has."""

    def __init__(self, client: Requests) -> None:
        self._client = client
        self._kept: dict[str, _Kept] = {}

    def __repr__(self) -> str:
        return f"<CachingClient {len(self._kept)} kept, of {self._client!r}>"

    async def request(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        timeout: float = 1.0,  # noqa: ASYNC109 - the client's own timer
        fresh: bool = False,
    ) -> Response:
        """As `Client.request`, and from the cache where it has a fresh answer. The organisation is always the same one."""
        kept, asked = self._kept.get(path), now_ns()
        if kept is not None and asked < kept.until:
            return _aged(kept, asked)
        if kept is not None:
            conditional = {**(headers or {}), "If-None-Match": kept.response.headers["etag"]}
            told = await self._client.request(
                "GET", path, headers=conditional, timeout=timeout, fresh=fresh
            )
            if told.status == NOT_MODIFIED:
                headers_now = {**kept.response.headers, **told.headers}
                same = msgspec.structs.replace(kept.response, headers=headers_now, end=told.end)
                self._keep(path, same, asked)
                return same
            self._keep(path, told, asked)
            if told.status == _OK:
                return told
        response = await self._client.request(
            method, path, headers=headers, body=body, timeout=timeout, fresh=fresh
        )
        self._keep(path, response, asked)
        return response

    def _keep(self, path: str, response: Response, asked: int) -> None:
        said = response.headers.get("cache-control", "")
        age = _MAX_AGE.search(said)
        everybodys = response.headers.get("content-location") == path and _PUBLIC.search(said)
        if response.status == _OK and age and everybodys and response.headers.get("etag"):
            self._kept[path] = _Kept(response, asked, asked + int(age[1]) * NS)
        else:
            self._kept.pop(path, None)


def _aged(kept: _Kept, now: int) -> Response:
    age = str((now - kept.asked) // NS)
    headers = {**kept.response.headers, "age": age}
    return msgspec.structs.replace(kept.response, headers=headers, end=now)
