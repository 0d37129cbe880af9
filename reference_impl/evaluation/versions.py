"""flagd's `sem_ver`: compares semantic versions. A leading v and missing last parts are forgiven."""

from __future__ import annotations

import operator
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from semver import Version

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_PARTS: Final = 3

COMPARISONS: Final[Mapping[str, Callable[[Version, Version], bool]]] = MappingProxyType(
    {
        "=": operator.eq,
        "!=": operator.ne,
        "<": operator.lt,
        "<=": operator.le,
        ">": operator.gt,
        ">=": operator.ge,
        "^": lambda a, b: a.major == b.major,
        "~": lambda a, b: (a.major, a.minor) == (b.major, b.minor),
    }
)


def compare(a: Any, comparison: Any, b: Any) -> bool | None:
    """Whether the comparison holds; null if one is no version, or the comparison is unknown."""
    holds = COMPARISONS.get(comparison) if isinstance(comparison, str) else None
    first, second = parse(str(a)), parse(str(b))
    return None if holds is None or first is None or second is None else holds(first, second)


@lru_cache(maxsize=4096)
def parse(written: str) -> Version | None:
    """The version that is written; null if it is none."""
    bare = written[1:] if written[:1] in ("v", "V") else written
    numbers = bare.partition("-")[0].partition("+")[0]
    padding = ".0" * (_PARTS - 1 - numbers.count("."))
    try:
        return Version.parse(numbers + padding + bare[len(numbers) :])
    except ValueError:
        return None
