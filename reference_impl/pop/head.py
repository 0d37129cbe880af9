"""The compiled reader of request heads, where it could be built (`_head.c`); else one that reads nothing.

`scan(data, prefix)` gives key and body of a request that is whole and like nearly all others, None for any other. The
yardstick is the parser of `http.py`: what this reads, that reads the same.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["COMPILED", "read_key", "scan"]

_NAMES: Final = {b"\n": b"x-org-id", b"\r": b"if-none-match"}

try:
    from reference_impl.pop._head import scan

    COMPILED = True
except ImportError:
    COMPILED = False

    def scan(data: bytes, prefix: bytes, /) -> tuple[bytes, bytes] | None:  # noqa: ARG001 - nothing is read
        """None, always."""
        return None


def read_key(key: bytes) -> tuple[bytes, dict[bytes, bytes]]:
    """The target and the headers that a key of `scan` holds: each value after a byte that no value can have."""
    target, *fields = re.split(b"([\n\r])", key.removeprefix(b"POST "))
    return target, {
        _NAMES[mark]: value for mark, value in zip(fields[::2], fields[1::2], strict=True)
    }
