"""An object store of one location: the subset of S3 that backups need, on a local folder.

`PUT`, `GET` (with Range), `HEAD` and `DELETE` of `/{bucket}/{key}`, and ListObjectsV2 at `/{bucket}?list-type=2`. ETags are
MD5s; a PUT whose Content-MD5 does not fit is refused; a GET whose bytes are no longer those that were put says so.
Not there: signatures, multipart uploads, versions, several buckets.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import msgspec
from aiohttp import web

from reference_impl.config import NodeConfig
from reference_impl.objectstore.base import ObjectInfo
from reference_impl.objectstore.files import DamagedError, Folder
from reference_impl.objectstore.s3 import MOST_KEYS, error_xml, key_of, listing_xml, token_of
from reference_impl.role import Env
from reference_impl.web import Handler, Site

LARGEST_OBJECT: Final = 256 << 20  # bytes
_RANGE: Final = re.compile(r"bytes=(\d+)-(\d*)")


class ObjectsSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    bucket: str = "backups"


class S3Error(Exception):
    """An answer that is an error, by S3's names."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class Objects:
    """A `Role`."""

    def __init__(self, config: NodeConfig, env: Env) -> None:
        self.config = config
        self.env = env
        self.settings = config.settings_as(ObjectsSettings)
        self.folder = Folder(Path(config.state_dir) / self.settings.bucket)
        self.damaged = 0
        self.site = Site(self._status, lambda: None)
        self.site.app._client_max_size = LARGEST_OBJECT  # noqa: SLF001 - read at each request; there is no setter
        for method, handler in (
            ("PUT", self._put),
            ("GET", self._get),
            ("HEAD", self._head),
            ("DELETE", self._delete),
        ):
            self.site.add(method, f"/{self.settings.bucket}/{{key:.+}}", _answered(handler))
        self.site.get(f"/{self.settings.bucket}", _answered(self._list))

    def __repr__(self) -> str:
        return f"<Objects {self.config.name} {self.folder!r} damaged={self.damaged}>"

    async def start(self) -> None:
        self.folder.open()
        await self.site.start(self.config.listen.host, self.config.listen.port)

    async def stop(self) -> None:
        await self.site.stop()

    def _status(self) -> dict[str, Any]:
        return {
            "node": self.config.name,
            "role": self.config.role,
            "boot": self.env.boot,
            "objects": len(self.folder.keys()),
            "damaged": self.damaged,
        }

    async def _put(self, request: web.Request) -> web.Response:
        body = await request.read()
        declared = request.headers.get("Content-MD5")
        md5 = hashlib.md5(body, usedforsecurity=False).digest()
        if declared is not None and declared != base64.b64encode(md5).decode():
            raise S3Error(400, "BadDigest", "the Content-MD5 does not fit what was received")
        try:
            info = self.folder.put(request.match_info["key"], body, self.env.wall_ns())
        except ValueError as error:
            raise S3Error(400, "KeyTooLongError", str(error)) from None
        return web.Response(headers={"ETag": f'"{info.etag}"'})

    async def _get(self, request: web.Request) -> web.Response:
        key = request.match_info["key"]
        try:
            info, body = self.folder.head(key), self.folder.get(key)
        except DamagedError:
            self.damaged += 1
            raise
        headers = _headers(info)
        asked = request.headers.get("Range")
        if asked is None:
            return web.Response(body=body, headers=headers)
        found = _RANGE.fullmatch(asked)
        start = int(found[1]) if found else 0
        if found is None or start >= len(body):
            raise S3Error(416, "InvalidRange", f"{asked} of {len(body)} bytes")
        end = min(int(found[2]) + 1 if found[2] else len(body), len(body))
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(body)}"
        return web.Response(status=206, body=body[start:end], headers=headers)

    async def _head(self, request: web.Request) -> web.Response:
        info = self.folder.head(request.match_info["key"])
        return web.Response(headers={**_headers(info), "Content-Length": str(info.size)})

    async def _delete(self, request: web.Request) -> web.Response:
        self.folder.delete(request.match_info["key"])
        return web.Response(status=204)

    async def _list(self, request: web.Request) -> web.Response:
        query = request.query
        if query.get("list-type") != "2":
            raise S3Error(501, "NotImplemented", "only ListObjectsV2 (list-type=2)")
        prefix, token = query.get("prefix", ""), query.get("continuation-token", "")
        asked = query.get("max-keys", str(MOST_KEYS))
        try:
            behind = key_of(token) if token else query.get("start-after", "")
            limit = min(MOST_KEYS, int(asked))
        except ValueError as error:
            raise S3Error(400, "InvalidArgument", str(error)) from None
        keys = [
            key for key in self.folder.keys(prefix) if not behind or key.encode() > behind.encode()
        ]
        page = keys[:limit]
        following = token_of(page[-1]) if page and len(keys) > len(page) else ""
        infos = [info for key in page if (info := self._info(key)) is not None]
        body = listing_xml(self.settings.bucket, prefix, infos, limit, following)
        return web.Response(body=body, content_type="application/xml")

    def _info(self, key: str) -> ObjectInfo | None:
        """For a listing: one whose first line is damaged is listed all the same, as S3 lists what it can't read."""
        try:
            return self.folder.head(key)
        except KeyError:
            return None
        except DamagedError:
            return ObjectInfo(key, 0, "", 0)


def _headers(info: ObjectInfo) -> dict[str, str]:
    return {
        "ETag": f'"{info.etag}"',
        "Accept-Ranges": "bytes",
        "Content-Type": "application/octet-stream",
        "X-Modified-Ns": str(info.modified),
    }


def _answered(handler: Callable[[web.Request], Awaitable[web.Response]]) -> Handler:
    """Turn what can go wrong into S3's error answers."""

    async def handle(request: web.Request) -> web.Response:
        try:
            return await handler(request)
        except S3Error as error:
            return _error(request, error.status, error.code, str(error))
        except KeyError:
            return _error(request, 404, "NoSuchKey", "there is no such object")
        except DamagedError:
            return _error(request, 500, "InternalError", "the object is damaged")
        except OSError as error:
            return _error(request, 503, "SlowDown", f"the disk fails: {error.strerror}")

    return handle


def _error(request: web.Request, status: int, code: str, message: str) -> web.Response:
    body = error_xml(code, message, request.path) if request.method != "HEAD" else None
    return web.Response(status=status, body=body, content_type="application/xml")
