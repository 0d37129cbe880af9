"""The part of S3's HTTP interface that is spoken here: its XML (ListObjectsV2, errors) and its dates, both ways."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from reference_impl.objectstore.base import ObjectInfo

NAMESPACE: Final = "http://s3.amazonaws.com/doc/2006-03-01/"
MOST_KEYS: Final = 1000  # of one answer, as in S3
_HEAD: Final = '<?xml version="1.0" encoding="UTF-8"?>\n'


def error_xml(code: str, message: str, resource: str) -> bytes:
    return (
        f"{_HEAD}<Error><Code>{escape(code)}</Code><Message>{escape(message)}</Message>"
        f"<Resource>{escape(resource)}</Resource></Error>"
    ).encode()


def listing_xml(
    bucket: str, prefix: str, objects: Sequence[ObjectInfo], limit: int, following: str
) -> bytes:
    """`following`: the continuation token, "" when these are the last."""
    entries = "".join(
        f"<Contents><Key>{escape(each.key)}</Key><LastModified>{_iso(each.modified)}</LastModified>"
        f"<ETag>&quot;{each.etag}&quot;</ETag><Size>{each.size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
        for each in objects
    )
    more = f"<NextContinuationToken>{following}</NextContinuationToken>" if following else ""
    return (
        f'{_HEAD}<ListBucketResult xmlns="{NAMESPACE}"><Name>{escape(bucket)}</Name><Prefix>{escape(prefix)}</Prefix>'
        f"<MaxKeys>{limit}</MaxKeys><KeyCount>{len(objects)}</KeyCount>"
        f"<IsTruncated>{str(bool(following)).lower()}</IsTruncated>{more}{entries}</ListBucketResult>"
    ).encode()


def parse_listing(body: bytes) -> tuple[list[ObjectInfo], str]:
    """Objects and the next token ("" for none). Raises ValueError for what is no ListObjectsV2 answer."""
    try:
        root = ET.fromstring(body)  # noqa: S314 - from our own store; expat refuses external entities
        objects = [_object(entry) for entry in root.iterfind(f"{{{NAMESPACE}}}Contents")]
    except (ET.ParseError, LookupError) as error:
        raise ValueError(f"no listing: {error}") from None
    return objects, root.findtext(f"{{{NAMESPACE}}}NextContinuationToken", "")


def _object(entry: ET.Element) -> ObjectInfo:
    parts = {child.tag.removeprefix(f"{{{NAMESPACE}}}"): child.text or "" for child in entry}
    modified = datetime.fromisoformat(parts["LastModified"])
    return ObjectInfo(
        parts["Key"],
        int(parts["Size"]),
        parts["ETag"].strip('"'),
        round(modified.timestamp() * 1000) * 1_000_000,
    )


def token_of(key: str) -> str:
    """The continuation token of a listing that goes on behind `key`."""
    return base64.urlsafe_b64encode(key.encode()).decode()


def key_of(token: str) -> str:
    """Raises ValueError for what is no token."""
    try:
        return base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"no continuation token: {error}") from None


def _iso(ns: int) -> str:
    at = datetime.fromtimestamp(ns // 1_000_000 / 1000, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
