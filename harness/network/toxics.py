"""What each kind of toxic takes. The daemon checks nothing: a slicer of average_size 0 ends it, a bandwidth of 0 spins."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.yamlspec import nearest

if TYPE_CHECKING:
    from harness.network.base import Toxic

_LONGEST = 3_600_000  # ms; an hour is longer than any scenario
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}")


@dataclass(frozen=True, slots=True)
class Range:
    """An attribute's smallest and largest value; one with a `default` may be left out."""

    least: int
    most: int
    default: int | None = None


ATTRIBUTES: dict[str, dict[str, Range]] = {
    "latency": {"latency": Range(0, _LONGEST), "jitter": Range(0, _LONGEST, 0)},  # ms
    "bandwidth": {"rate": Range(1, 10_000_000)},  # KB/s
    "slow_close": {"delay": Range(0, _LONGEST)},  # ms
    "timeout": {"timeout": Range(0, _LONGEST)},  # ms without a byte; 0: for ever
    "reset_peer": {"timeout": Range(0, _LONGEST)},  # ms after the first byte
    "slicer": {
        "average_size": Range(1, 1_000_000),  # bytes
        "size_variation": Range(0, 1_000_000, 0),  # bytes
        "delay": Range(0, _LONGEST * 1000, 0),  # µs
    },
    "limit_data": {"bytes": Range(0, 1_000_000_000)},
}


def checked(toxic: Toxic) -> dict[str, int]:
    """The toxic's attributes, complete with defaults. Raises ValueError with one clear line for what can't be sent."""
    known = ATTRIBUTES.get(toxic.type)
    if known is None:
        raise ValueError(f"no toxic is called '{toxic.type}'{nearest(toxic.type, ATTRIBUTES)}")
    if not _NAME.fullmatch(toxic.name):
        raise ValueError(
            f"a toxic can't be named '{toxic.name}': letters, digits, '_', '.' and '-' only"
        )
    if not 0.0 <= toxic.toxicity <= 1.0:
        raise ValueError(f"toxicity of {toxic.type} is a share of 0 to 1, not {toxic.toxicity}")
    for name in toxic.attributes:
        if name not in known:
            raise ValueError(f"{toxic.type} has no attribute '{name}'{nearest(name, known)}")
    values = {name: _value(toxic, name, limits) for name, limits in known.items()}
    if toxic.type == "latency" and values["jitter"] > values["latency"]:
        raise ValueError(f"jitter {values['jitter']} is more than latency {values['latency']}")
    if toxic.type == "slicer" and values["size_variation"] >= values["average_size"]:
        raise ValueError(
            f"size_variation {values['size_variation']} is not below average_size {values['average_size']}"
        )
    return values


def _value(toxic: Toxic, name: str, limits: Range) -> int:
    value = toxic.attributes.get(name, limits.default)
    if value is None:
        raise ValueError(f"{toxic.type} needs the attribute '{name}'")
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{name} of {toxic.type} is a whole number, not {value!r}")  # noqa: TRY004 - one error for callers
    if not limits.least <= value <= limits.most:
        raise ValueError(f"{name} of {toxic.type} is {limits.least} to {limits.most}, not {value}")
    return value
