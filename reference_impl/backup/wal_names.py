"""Names of WAL files and positions in the WAL, as PostgreSQL writes them.

A segment's name is 24 hex digits: timeline, then the segment's number in two parts, the second of which counts the segments
of 4 GiB. An LSN is a byte position, written as two hex numbers of 32 bits.
"""

from __future__ import annotations

import re
from typing import Final

_SEGMENT: Final = re.compile(r"[0-9A-F]{24}")
_HISTORY: Final = re.compile(r"[0-9A-F]{8}\.history")
PARTIAL: Final = ".partial"
_LOG: Final = 1 << 32  # bytes


def is_segment(name: str) -> bool:
    return _SEGMENT.fullmatch(name) is not None


def is_partial(name: str) -> bool:
    return name.endswith(PARTIAL) and is_segment(name.removesuffix(PARTIAL))


def is_history(name: str) -> bool:
    return _HISTORY.fullmatch(name) is not None


def timeline_of(segment: str) -> int:
    return int(segment[:8], 16)


def segment_start(segment: str, size: int) -> int:
    """The position of a segment's first byte; `size` in bytes of one segment."""
    return int(segment[8:16], 16) * _LOG + int(segment[16:], 16) * size


def next_number(number: str, size: int) -> str:
    """The 16 digits (no timeline) behind those of a segment."""
    at = int(number[:8], 16) * (_LOG // size) + int(number[8:], 16) + 1
    return f"{at // (_LOG // size):08X}{at % (_LOG // size):08X}"


def parse_lsn(text: str) -> int:
    """Raises ValueError for what is no LSN."""
    high, slash, low = text.partition("/")
    if not slash:
        raise ValueError(f"{text!r} is no LSN")
    return (int(high, 16) << 32) + int(low, 16)


def lsn_text(position: int) -> str:
    return f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"
