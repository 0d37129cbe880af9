"""A subscriber of a node's stream: what came, when, and whether a resumed stream goes on where the last one ended."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from harness.history import Probe as ProbeStart
from harness.history import Stream as StreamEvent
from harness.probes.http import INVALID, TIMEOUT, HttpFailure
from harness.probes.openloop import record_end
from harness.probes.schedule import Counts
from harness.probes.sse import SseEvent, SseParser
from harness.target import fill_headers
from harness.units import NS, Seconds, now_ns, to_ns

if TYPE_CHECKING:
    from harness.probes.http import Client, Stream
    from harness.probes.site import Site

CUT = "CUT_BY_PROBE"
END = "PROBE_END"


@dataclass(frozen=True, slots=True)
class SubscribeProbe:
    """Subscribes to `node`, from a client group's address if one is named; reconnects with Last-Event-ID.

    `org`: whose subscriber it says that it is; "": it doesn't say.

    `cut_every` s after each opening it cuts itself off (0: never), to exercise the resume. The pause before the next
    connection doubles from `reconnect` to `reconnect_max` s while it can't connect. `timeout`: to connect and get the
    answer's headers.
    """

    kind: ClassVar[str] = "subscribe"

    name: str
    node: str
    group: str = ""
    org: str = ""
    cut_every: Seconds = Seconds(0.0)
    reconnect: Seconds = Seconds(0.05)
    reconnect_max: Seconds = Seconds(1.0)
    timeout: Seconds = Seconds(2.0)

    def __post_init__(self) -> None:
        if not 0 < self.reconnect <= self.reconnect_max:
            raise ValueError("reconnect must be more than 0 and at most reconnect_max")

    async def run(self, site: Site, stop: asyncio.Event) -> None:
        site.target.require("subscribe")
        site.record(
            ProbeStart(
                t=site.now(),
                name=self.name,
                kind=self.kind,
                target=self.node,
                group=self.group,
            )
        )
        async with site.client(self.node, self.group) as client:
            subscriber = _Subscriber(self, site, client)
            await _until(stop, subscriber.follow())
            subscriber.ended()
        record_end(site, self.name, Counts(sent=subscriber.connects))


async def _until(stop: asyncio.Event, work: Any) -> None:
    """Run `work` until it ends or `stop` is set, then cancel it. Raises what it raised."""
    stopped = asyncio.create_task(stop.wait())
    working = asyncio.create_task(work)
    try:
        await asyncio.wait({stopped, working}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopped.cancel()
        working.cancel()
        await asyncio.wait({working}, timeout=1.0)
    if not working.cancelled():
        working.result()


class _Change(msgspec.Struct):
    """A change as the stream tells it: the flag's value is that of its default variant."""

    seq: int
    org: str = ""
    key: str = ""
    flag: dict[str, Any] | None = None
    at: int = 0


class _Position(msgspec.Struct):
    """The one thing that matters of a snapshot or heartbeat."""

    seq: int = -1


class _Flag(msgspec.Struct):
    """Which flag a prewarm is of."""

    org: str
    key: str


class _Subscriber:
    """One subscriber's life over all its connections."""

    def __init__(self, probe: SubscribeProbe, site: Site, client: Client) -> None:
        self._probe = probe
        self._site = site
        self._client = client
        self._last_id = -1
        self._open = False
        self.connects = 0

    def __repr__(self) -> str:
        state = "open" if self._open else "closed"
        return f"<_Subscriber {self._probe.name} {state} last_id={self._last_id}>"

    async def follow(self) -> None:
        """Connect, read, connect again; only cancellation ends it."""
        pause = float(self._probe.reconnect)
        while True:
            stream = await self._connect()
            if stream is None:
                await asyncio.sleep(pause)
                pause = min(pause * 2, self._probe.reconnect_max)
                continue
            pause = float(self._probe.reconnect)
            try:
                await self._read(stream)
            finally:
                stream.close()
            await asyncio.sleep(pause)

    def ended(self) -> None:
        if self._open:
            self._closed(END, self._site.now())

    async def _connect(self) -> Stream | None:
        how = self._site.target.subscribe
        headers = {"Accept": "text/event-stream", **fill_headers(how.headers)}
        if self._probe.org:
            headers |= fill_headers(how.org_headers, org=self._probe.org)
        if self._last_id >= 0:
            headers["Last-Event-ID"] = str(self._last_id)
        self.connects += 1
        self._record("connect", self._site.now(), id_=self._last_id)
        self._open = True
        try:
            stream = await self._client.stream(
                how.path, headers=headers, timeout=self._probe.timeout
            )
        except HttpFailure as failure:
            self._closed(failure.error, failure.at - self._site.origin_ns)
            return None
        if stream.status != 200:  # noqa: PLR2004 - anything else is not a stream
            stream.close()
            self._closed(stream.error or INVALID, self._site.now())
            return None
        self._record("open", self._site.now())
        return stream

    async def _read(self, stream: Stream) -> None:
        parser = SseParser()
        silence = self._site.target.subscribe.silence
        cut_at = now_ns() + to_ns(self._probe.cut_every) if self._probe.cut_every else 0
        while True:
            left = (cut_at - now_ns()) / NS if cut_at else silence
            if left <= 0:
                self._closed(CUT, self._site.now())
                return
            try:
                chunk = await stream.read(min(left, silence))
            except HttpFailure as failure:
                if failure.error == TIMEOUT and left < silence:
                    continue  # time to cut, which the loop's head does
                self._closed(failure.error, failure.at - self._site.origin_ns)
                return
            at = chunk.t - self._site.origin_ns
            try:
                for event in parser.feed(chunk.data):
                    self._take(event, at)
            except (msgspec.DecodeError, msgspec.ValidationError, ValueError):
                self._closed(INVALID, at)
                return

    def _take(self, event: SseEvent, at: int) -> None:
        if event.event == "change":
            change = msgspec.json.decode(event.data, type=_Change)
            id_ = change.seq if event.id is None else int(event.id)
            self._record(
                "change",
                at,
                id_=id_,
                org=change.org,
                key=change.key,
                value=default_value(change.flag),
                committed=change.at,
            )
            self._last_id = id_
        elif event.event == "snapshot":
            seq = msgspec.json.decode(event.data, type=_Position).seq if event.id is None else -1
            id_ = seq if event.id is None else int(event.id)
            self._record("snapshot", at, id_=id_)
            self._last_id = id_
        elif event.event == "heartbeat":
            position = msgspec.json.decode(event.data, type=_Position)
            self._record("heartbeat", at, id_=position.seq)

        elif event.event == "prewarm":
            flag = msgspec.json.decode(event.data, type=_Flag)
            self._record("prewarm", at, org=flag.org, key=flag.key)

    def _closed(self, error: str, at: int) -> None:
        self._open = False
        self._record("close", at, error=error)

    def _record(
        self,
        what: str,
        at: int,
        *,
        id_: int = -1,
        org: str = "",
        key: str = "",
        value: object = None,
        committed: int = 0,
        error: str = "",
    ) -> None:
        self._site.record(
            StreamEvent(
                t=at,
                probe=self._probe.name,
                what=what,
                id=id_,
                org=org,
                key=key,
                value=value,
                at=committed,
                error=error,
            )
        )


def default_value(flag: dict[str, Any] | None) -> object:
    """The value of a flagd definition's default variant; None where there is no flag, or no such variant."""
    if flag is None:
        return None
    variants = flag.get("variants")
    default = flag.get("defaultVariant")
    return variants.get(default) if isinstance(variants, dict) else None
