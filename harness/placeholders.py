"""`{address_of: NODE}` in settings and bodies: the address of a node, which is known only once a cluster is planned."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any


def nodes_named(value: Any) -> Iterator[str]:
    """The nodes whose address stands somewhere in a plain value."""
    match value:
        case {"address_of": name} if len(value) == 1:
            yield str(name)
        case Mapping():
            for item in value.values():
                yield from nodes_named(item)
        case list() | tuple():
            for item in value:
                yield from nodes_named(item)


def filled(value: Any, address_of: Callable[[str], str]) -> Any:
    """The same value with each placeholder replaced. Raises what `address_of` raises for a node that is not there."""
    match value:
        case {"address_of": name} if len(value) == 1:
            return address_of(str(name))
        case Mapping():
            return {key: filled(item, address_of) for key, item in value.items()}
        case list() | tuple():
            return [filled(item, address_of) for item in value]
    return value
