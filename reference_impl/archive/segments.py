"""What is archived: segments, each a part of one flag's history, with a digest. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

import msgspec

from reference_impl.propagation.types import Change
from reference_impl.resilience.errors import INVALID, CallError

PREFIX: Final = "versions/"
DIGITS: Final = 20  # of a position in a key, so that keys sort as positions do
_encode = msgspec.json.encode
_change = msgspec.json.Decoder(Change).decode


@dataclass(frozen=True, slots=True)
class Span:
    """The positions of the first and the last version of the segment `key`."""

    key: str
    first: int
    last: int


def folder_of(org: str, key: str) -> str:
    """What the keys of all segments of a flag begin with."""
    return f"{PREFIX}{quote(org, safe='')}/{quote(key, safe='')}/"


def key_of(changes: Sequence[Change]) -> str:
    first, last = changes[0], changes[-1]
    return f"{folder_of(first.org, first.key)}{first.seq:0{DIGITS}}-{last.seq:0{DIGITS}}.jsonl"


def span_of(key: str) -> Span:
    """Raises `CallError` INVALID for what is no key of a segment."""
    first, _, last = key.rpartition("/")[2].removesuffix(".jsonl").partition("-")
    if not (first.isdecimal() and last.isdecimal()):
        raise CallError(INVALID, f"archive: {key} is no segment")
    return Span(key, int(first), int(last))


def grouped(changes: Iterable[Change]) -> list[list[Change]]:
    """A part of the log by flag, each flag's in the log's order."""
    flags: dict[tuple[str, str], list[Change]] = {}
    for change in changes:
        flags.setdefault((change.org, change.key), []).append(change)
    return list(flags.values())


def encode(changes: Sequence[Change]) -> bytes:
    """The digest of all that follows, then a version on each line, oldest first."""
    lines = b"".join(_encode(change) + b"\n" for change in changes)
    return hashlib.sha256(lines).hexdigest().encode() + b"\n" + lines


def decode(body: bytes, name: str) -> list[Change]:
    """Raises `CallError` INVALID where these are not the bytes that were archived."""
    digest, _, lines = body.partition(b"\n")
    if hashlib.sha256(lines).hexdigest().encode() != digest:
        raise CallError(INVALID, f"archive: {name} is damaged")
    return [_change(line) for line in lines.splitlines()]
