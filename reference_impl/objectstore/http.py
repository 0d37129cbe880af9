"""An object store behind HTTP: a client of the S3 subset in `reference_impl.objectstore.role`."""

from __future__ import annotations

import base64
import hashlib
import random
from typing import Final
from urllib.parse import quote, urlencode

import msgspec

from reference_impl.config import Positive, Upstream
from reference_impl.objectstore.base import ObjectInfo
from reference_impl.objectstore.s3 import parse_listing
from reference_impl.resilience.errors import INVALID, CallError
from reference_impl.resilience.http import Answer, HttpClient
from reference_impl.resilience.retry import RetrySettings, retry

_RETRY: Final = RetrySettings()


class StoreSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`timeout` in s is for one attempt of a call that moves `bytes_per_second` or more."""

    bucket: str = "backups"
    timeout: Positive = 3.0
    bytes_per_second: Positive = 5e6


class HttpObjectStore:
    """An `ObjectStore`. Calls are tried three times: to do any of them twice is safe."""

    def __init__(
        self, store: Upstream, settings: StoreSettings, http: HttpClient, chance: random.Random
    ) -> None:
        self.name = store.to
        self.settings = settings
        self._url = f"{store.url}/{quote(settings.bucket, safe='')}"
        self._http = http
        self._chance = chance

    def __repr__(self) -> str:
        return f"<HttpObjectStore {self.name}/{self.settings.bucket}>"

    async def put(self, key: str, body: bytes) -> str:
        md5 = hashlib.md5(body, usedforsecurity=False)
        headers = {"Content-MD5": base64.b64encode(md5.digest()).decode()}
        await self._call("PUT", self._at(key), body=body, headers=headers, size=len(body))
        return md5.hexdigest()

    async def get(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        if end is not None and end <= start:
            return b""
        headers = {}
        if start or end is not None:
            headers["Range"] = f"bytes={start}-{'' if end is None else end - 1}"
        size = (await self.head(key)).size  # large objects get more time
        return (await self._call("GET", self._at(key), headers=headers, size=size)).body

    async def head(self, key: str) -> ObjectInfo:
        answer = await self._call("HEAD", self._at(key))
        try:
            return ObjectInfo(
                key,
                int(answer.headers["Content-Length"]),
                answer.headers["ETag"].strip('"'),
                int(answer.headers["X-Modified-Ns"]),
            )
        except (LookupError, ValueError) as error:
            raise CallError(INVALID, f"{self.name}: HEAD {key}: {error!r}") from None

    async def delete(self, key: str) -> None:
        await self._call("DELETE", self._at(key))

    async def list(self, prefix: str = "") -> list[ObjectInfo]:
        found: list[ObjectInfo] = []
        query = {"list-type": "2", "prefix": prefix}
        while True:
            answer = await self._call("GET", f"{self._url}?{urlencode(query)}")
            try:
                objects, token = parse_listing(answer.body)
            except ValueError as error:
                raise CallError(INVALID, f"{self.name}: {error}") from None
            found += objects
            if not token:
                return found
            query["continuation-token"] = token

    async def close(self) -> None:
        """The connections are the `HttpClient`'s, which others use too."""

    def _at(self, key: str) -> str:
        return f"{self._url}/{quote(key, safe='')}"

    async def _call(
        self,
        method: str,
        url: str,
        *,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        size: int = 0,
    ) -> Answer:
        within = self.settings.timeout + size / self.settings.bytes_per_second

        async def once(attempt: int) -> Answer:
            return await self._http.request(
                method, url, body=body, headers=headers, attempt=attempt, within=within
            )

        return await retry(once, _RETRY, self._chance)
