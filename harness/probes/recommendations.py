"""What the platform recommends to add, each entry of its feed once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import msgspec

from harness.history import Recommendation
from harness.probes.feed import Feed, follow
from harness.units import Seconds

if TYPE_CHECKING:
    import asyncio

    from harness.probes.site import Site


@dataclass(frozen=True, slots=True)
class RecommendationsProbe:
    """Asks `node` for what is new in its feed of recommendations each `interval` s, and a last time at the end."""

    kind: ClassVar[str] = "recommendations"

    name: str = "recommendations"
    node: str = ""
    interval: Seconds = Seconds(0.2)
    timeout: Seconds = Seconds(1.0)

    def __post_init__(self) -> None:
        if not self.node:
            raise ValueError("node must name the node that recommends")
        if self.interval <= 0:
            raise ValueError("interval must be more than 0")

    async def run(self, site: Site, stop: asyncio.Event) -> None:
        site.target.require("recommendations")
        how = site.target.recommendations

        def take(items: object, last: int) -> int:
            return _take(site, items, last)

        async with site.client(self.node) as client:
            feed = Feed(self, site, client, how, how.recommendations, what="feed", take=take)
            await follow(self, site, stop, self.node, feed)


class _Raw(msgspec.Struct):
    """An entry as the platform tells it; `at` in ns of the monotonic clock."""

    n: int
    at: int
    kind: str
    node: str
    metric: str
    value: float
    threshold: float
    state: Literal["raised", "withdrawn"]


def _take(site: Site, items: object, last: int) -> int:
    for entry in sorted(msgspec.convert(items, list[_Raw]), key=lambda entry: entry.n):
        if entry.n > last:
            last = entry.n
            site.record(
                Recommendation(
                    t=entry.at - site.origin_ns,
                    seen=site.now(),
                    n=entry.n,
                    kind=entry.kind,
                    node=entry.node,
                    metric=entry.metric,
                    value=entry.value,
                    threshold=entry.threshold,
                    state=entry.state,
                )
            )
    return last
