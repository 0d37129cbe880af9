"""What object stores have: their own lists (S3's ListObjectsV2), not what anyone says to have put there."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode
from xml.etree import ElementTree as ET

from harness.history import Objects, Stored
from harness.probes.http import INVALID, TIMEOUT, HttpFailure

if TYPE_CHECKING:
    from harness.probes.http import Client
    from harness.probes.site import Site

_NAMESPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"


async def list_objects(
    site: Site, nodes: tuple[str, ...], bucket: str, prefix: str, within: float
) -> None:
    """Record what each of `nodes` lists, or why it does not within `within` s."""
    await asyncio.gather(*(_record(site, node, bucket, prefix, within) for node in nodes))


async def _record(site: Site, node: str, bucket: str, prefix: str, within: float) -> None:
    objects: list[Stored] = []
    error = ""
    try:
        async with asyncio.timeout(within), site.client(node) as client:
            objects = await _pages(client, bucket, prefix, within)
    except TimeoutError:
        error = TIMEOUT
    except HttpFailure as failure:
        error = failure.error
    except (ET.ParseError, ValueError):
        error = INVALID
    site.record(
        Objects(t=site.now(), node=node, prefix=prefix, ok=not error, error=error, objects=objects)
    )


async def _pages(client: Client, bucket: str, prefix: str, within: float) -> list[Stored]:
    """Raises HttpFailure, ParseError or ValueError."""
    found: list[Stored] = []
    query = {"list-type": "2", "prefix": prefix}
    while True:
        path = f"/{quote(bucket, safe='')}?{urlencode(query)}"
        answer = await client.request("GET", path, timeout=within)
        if answer.error:
            raise HttpFailure(answer.error, sent=True, at=answer.end)
        root = ET.fromstring(answer.body)  # noqa: S314 - expat refuses external entities
        for entry in root.iterfind(f"{_NAMESPACE}Contents"):
            parts = {child.tag.removeprefix(_NAMESPACE): child.text or "" for child in entry}
            if "Key" not in parts or not parts.get("Size", "").isdigit():
                raise ValueError("an entry without key or size")
            found.append(Stored(parts["Key"], int(parts["Size"]), parts.get("ETag", "").strip('"')))
        token = root.findtext(f"{_NAMESPACE}NextContinuationToken", "")
        if not token:
            return found
        query["continuation-token"] = token
