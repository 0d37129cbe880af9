"""Alerts that reached the operators, each once, with the sink's own time of arrival."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from harness.history import Alert, Note
from harness.history import Probe as ProbeStart
from harness.probes.http import INVALID, HttpFailure
from harness.probes.openloop import record_end
from harness.probes.schedule import Counts
from harness.target import fill_headers, fill_path, pointer
from harness.units import Seconds

if TYPE_CHECKING:
    from harness.probes.http import Client
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
        site.record(ProbeStart(t=site.now(), name=self.name, kind=self.kind, target=node))
        async with site.client(node) as client:
            sink = _Sink(self, site, client)
            while not stop.is_set():
                await sink.ask()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self.interval):
                        await stop.wait()
            await sink.ask()
        record_end(site, self.name, Counts(sent=sink.asked))


class _RawAlert(msgspec.Struct):
    """An alert as the sink tells it; `at` in ns of the monotonic clock."""

    n: int
    at: int
    name: str
    sender: str = ""
    data: dict[str, Any] = {}


class _Sink:
    """The sink as known so far: the number of the last alert seen, and whether it answers."""

    def __init__(self, probe: AlertProbe, site: Site, client: Client) -> None:
        self._probe = probe
        self._site = site
        self._client = client
        self._last = 0
        self._error = ""
        self.asked = 0

    def __repr__(self) -> str:
        return f"<_Sink last={self._last} error={self._error or 'none'}>"

    async def ask(self) -> None:
        how = self._site.target.alerts
        self.asked += 1
        try:
            response = await self._client.request(
                "GET",
                fill_path(how.path, n=str(self._last)),
                headers=fill_headers(how.headers),
                timeout=self._probe.timeout,
            )
            if not response.error:
                self._take(response.body)
            self._seen(response.error)
        except HttpFailure as failure:
            self._seen(failure.error)
        except (msgspec.DecodeError, msgspec.ValidationError):
            self._seen(INVALID)

    def _take(self, body: bytes) -> None:
        listed = pointer(self._site.target.alerts.alerts)(msgspec.json.decode(body))
        alerts = msgspec.convert(listed, list[_RawAlert])
        for alert in sorted(alerts, key=lambda alert: alert.n):
            if alert.n > self._last:
                self._last = alert.n
                self._site.record(
                    Alert(
                        t=alert.at - self._site.origin_ns,
                        name=alert.name,
                        sender=alert.sender,
                        data=alert.data,
                    )
                )

    def _seen(self, error: str) -> None:
        """No alerts and no answers must not look the same in the history."""
        if error != self._error:
            text = f"alert sink: {error}" if error else "alert sink answers again"
            self._site.record(Note(t=self._site.now(), source=self._probe.name, text=text))
            self._error = error
