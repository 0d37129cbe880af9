"""Alerts that reached the operators, each once, with the sink's own time of arrival."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from harness.history import Alert
from harness.probes.feed import Feed, follow
from harness.units import Seconds

if TYPE_CHECKING:
    import asyncio

    from harness.probes.site import Site


@dataclass(frozen=True, slots=True)
class AlertProbe:
    """Asks the alert sink for what is new each `interval` s, one question at a time, and a last time at the end."""

    kind: ClassVar[str] = "alerts"

    name: str = "alerts"
    interval: Seconds = Seconds(0.2)
    timeout: Seconds = Seconds(1.0)
    node: str = ""  # "": the topology's endpoint for alerts

    def __post_init__(self) -> None:
        if self.interval <= 0:
            raise ValueError("interval must be more than 0")

    async def run(self, site: Site, stop: asyncio.Event) -> None:
        site.target.require("alerts")
        node = self.node or site.endpoint("alerts")
        how = site.target.alerts

        def take(items: object, last: int) -> int:
            return _take(site, items, last)

        async with site.client(node) as client:
            feed = Feed(self, site, client, how, how.alerts, what="alert sink", take=take)
            await follow(self, site, stop, node, feed)


class _RawAlert(msgspec.Struct):
    """An alert as the sink tells it; `at` in ns of the monotonic clock."""

    n: int
    at: int
    name: str
    sender: str = ""
    data: dict[str, Any] = {}


def _take(site: Site, items: object, last: int) -> int:
    for alert in sorted(msgspec.convert(items, list[_RawAlert]), key=lambda alert: alert.n):
        if alert.n > last:
            last = alert.n
            t = alert.at - site.origin_ns
            site.record(Alert(t=t, name=alert.name, sender=alert.sender, data=alert.data))
    return last
