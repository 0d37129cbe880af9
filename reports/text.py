"""Text that comes from outside, made harmless for where it is printed."""

from __future__ import annotations

import re
from html import escape

# What XML 1.0 does not allow, which no escaping can carry; also the C1 controls and the bidirectional overrides, which
# can make a line read as something else.
_FORBIDDEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)
_MARKDOWN = re.compile(r"([\\`*_{}\[\]#|~@!])")
_SPACE = re.compile(r"\s+")


def clean(text: object) -> str:
    """`text` without characters that XML forbids or that terminals obey; each becomes U+FFFD."""
    return _FORBIDDEN.sub("\ufffd", str(text))


def one_line(text: object) -> str:
    return _SPACE.sub(" ", clean(text)).strip()


def shorten(text: str, width: int, ellipsis: str = "…") -> str:
    """At most `width` characters; what was cut is told by the ellipsis."""
    if len(text) <= width:
        return text
    return text[: max(width - len(ellipsis), 0)] + ellipsis[: max(width, 0)]


def markdown(text: object) -> str:
    """`text` as a table cell: nothing in it is markup, a mention or HTML."""
    return _MARKDOWN.sub(r"\\\1", escape(one_line(text), quote=False))
