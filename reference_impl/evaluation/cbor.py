"""Canonical CBOR (RFC 7049, 3.9) of JSON values: what flagd hashes to choose a bucket.

Numbers without a fraction are encoded as integers if they fit into 64 bits, so that 1 and 1.0 share a bucket.
"""

from __future__ import annotations

import math
import struct
from typing import Any

_SIMPLE = {None: b"\xf6", False: b"\xf4", True: b"\xf5"}
_TEXT, _LIST, _MAP = 0x60, 0x80, 0xA0
_IN_BYTE, _BYTE, _SHORT, _INT, _LONG = 24, 1 << 8, 1 << 16, 1 << 32, 1 << 64


def encode(value: Any) -> bytes:
    """The value's canonical form. Raises `ValueError` for text that is not Unicode, `TypeError` for other types."""
    if isinstance(value, str):
        return encode_text(value)
    if value is None or isinstance(value, bool):
        return _SIMPLE[value]
    if isinstance(value, float):
        whole = value.is_integer() and -(2**63) <= value <= _LONG - 1
        return _integer(int(value)) if whole else _float(value)
    if isinstance(value, int):
        return _integer(value)
    if isinstance(value, list | tuple):
        return _head(_LIST, len(value)) + b"".join(encode(item) for item in value)
    if isinstance(value, dict):
        pairs = sorted(
            ((encode_text(key), encode(item)) for key, item in value.items()),
            key=lambda pair: (len(pair[0]), pair[0]),
        )
        return _head(_MAP, len(pairs)) + b"".join(key + item for key, item in pairs)
    raise TypeError(f"not a JSON value: {value!r}")


def encode_text(value: str) -> bytes:
    """A text's canonical form."""
    raw = value.encode()
    size = len(raw)
    return (bytes((_TEXT | size,)) if size < _IN_BYTE else _head(_TEXT, size)) + raw


def _head(major: int, argument: int) -> bytes:
    if argument < _IN_BYTE:
        return bytes((major | argument,))
    if argument < _BYTE:
        return bytes((major | 24, argument))
    if argument < _SHORT:
        return struct.pack(">BH", major | 25, argument)
    if argument < _INT:
        return struct.pack(">BI", major | 26, argument)
    return struct.pack(">BQ", major | 27, argument)


def _integer(value: int) -> bytes:
    negative = value < 0
    argument = -1 - value if negative else value
    if argument < _LONG:
        return _head(0x20 if negative else 0x00, argument)
    raw = argument.to_bytes((argument.bit_length() + 7) // 8, "big")
    return bytes((0xC3 if negative else 0xC2,)) + _head(0x40, len(raw)) + raw


def _float(value: float) -> bytes:
    """The shortest of half, single and double precision that keeps the value."""
    if math.isnan(value):
        return b"\xf9\x7e\x00"
    for initial, precision in ((0xF9, ">e"), (0xFA, ">f")):
        try:
            raw = struct.pack(precision, value)
        except OverflowError:
            continue
        if struct.unpack(precision, raw)[0] == value:
            return bytes((initial,)) + raw
    return b"\xfb" + struct.pack(">d", value)
