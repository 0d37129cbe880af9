"""What a fault may do to a link. Implemented by toxiproxy (harness/network/toxiproxy.py)."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class Direction(StrEnum):
    """As toxiproxy names them: upstream is source to destination, downstream is the answer's way."""

    UPSTREAM = "upstream"
    DOWNSTREAM = "downstream"


@dataclass(frozen=True, slots=True)
class Toxic:
    """One disturbance of a link in one direction. `type` and `attributes` are toxiproxy's, checked before they are sent."""

    name: str
    type: str  # latency, bandwidth, slow_close, timeout, reset_peer, slicer, limit_data
    direction: Direction
    attributes: dict[str, int] = field(default_factory=dict)
    toxicity: float = 1.0


@dataclass(frozen=True, slots=True)
class LinkState:
    link: str
    enabled: bool
    toxics: tuple[Toxic, ...]


class LinkControl(Protocol):
    """Idempotent in every call. Raises `RuntimeFailure` when the control API can't be brought to do it in time."""

    async def cut(self, link: str) -> None:
        """Connections are reset and new ones refused."""

    async def restore(self, link: str) -> None:
        """Undo `cut`. Toxics stay."""

    async def add(self, link: str, toxic: Toxic) -> None: ...

    async def remove(self, link: str, toxic: str) -> None: ...

    async def state(self, link: str) -> LinkState: ...
