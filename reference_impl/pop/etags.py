"""ETags of answers: they change with every outcome, not with the log position or who answers."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from reference_impl.pop.levels import Level


class Piece(NamedTuple):
    """What one flag adds to the answer about all of them, and to its ETag."""

    outcome: bytes
    tag: bytes


def etag(level: Level, pieces: list[Piece]) -> bytes:
    """Of an answer about these flags: a change of another organisation is none of this one."""
    parts = b"".join([piece.tag for piece in pieces])
    digest = hashlib.blake2b(b"%b:%b" % (level.encode(), parts), digest_size=12)
    return b'"%b"' % digest.hexdigest().encode()


def tags(if_none_match: bytes) -> list[bytes]:
    """Those of the header of that name, to be compared weakly (RFC 9110, 8.8.3.2)."""
    return [tag.strip().removeprefix(b"W/") for tag in if_none_match.split(b",")]
