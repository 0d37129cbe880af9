"""One source of changes, many subscribers. Each has a cursor into the same encoded changes; nothing is copied.

Nodes of the platform come first, and with them ENTERPRISE; then PRO, then FREE, to whom changes are sent at a pace ("Bulkhead Pattern").
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from itertools import chain
from typing import Final, NamedTuple

from reference_impl.propagation import sse
from reference_impl.propagation.settings import FanOutSettings
from reference_impl.propagation.store import Store
from reference_impl.propagation.types import Change, Heartbeat, Prewarm, Snapshot
from reference_impl.resilience.errors import INVALID, SERVICE_UNAVAILABLE, TIMEOUT, CallError
from reference_impl.tenants.tiers import Places, Tier


class Lane(NamedTuple):
    """How a subscriber is served: lower `order` first, and no two writes within `pace` s."""

    order: int = 0
    pace: float = 0.0


PLATFORM: Final = Lane()
Write = Callable[[bytes], Awaitable[None]]
BATCH: Final = 256  # changes in one write
ASIDE: Final = 1 << 16  # bytes beside the log that may wait for one subscriber; more is left out
PIECE: Final = 1 << 18  # bytes of one write
NOTHING: Final = -1  # the position of a subscriber that has no data


class _Subscription:
    """`at`: the last position that was sent. `wake` is set when there is news or the end."""

    def __init__(self, at: int, role: str) -> None:
        self.at = at
        self.aside = b""  # events beside the log that are still to be sent
        self.role = role
        self.wake = asyncio.Event()
        self.write: asyncio.Timeout | None = None  # the write under way
        self.write_from = 0  # the store's position when it began

    def __repr__(self) -> str:
        return f"<Subscription at {self.at}{' writing' if self.write else ''}>"


class FanOut:
    """Serves what `store` knows to any number of subscribers; a slow one is dropped and may resume by id.

    `stamped`: heartbeats say when they were sent, for those who echo them.
    """

    def __init__(self, store: Store, settings: FanOutSettings, *, stamped: bool = False) -> None:
        self.store = store
        self.settings = settings
        self.refusing: str | None = None  # why no stream is served now
        self.dropped = 0
        self._subscriptions: tuple[set[_Subscription], ...] = (set(), set(), set())  # by order
        self._places = Places(settings.tenants, settings.tenants.streams)
        self._stamped = stamped
        self._encoded: dict[int, bytes] = {}
        self._snapshot: tuple[int, bytes] | None = None
        store.listen(self._publish)

    def __repr__(self) -> str:
        state = f"refusing: {self.refusing}" if self.refusing else "serving"
        return f"<FanOut seq={self.store.seq} subscribers={self.subscribers} {state}>"

    @property
    def subscribers(self) -> int:
        return sum(map(len, self._subscriptions))

    def of_role(self, role: str) -> int:
        """How many of them said that they are of this role."""
        return sum(one.role == role for one in chain(*self._subscriptions))

    @property
    def unready(self) -> str | None:
        """Why a subscriber would be turned away now; None when it would be served."""
        return self.refusing or (None if self.store.loaded else "no data yet")

    def suspend(self, reason: str) -> None:
        """End all streams and refuse new ones: what we have may be old, and another server's may not."""
        self.refusing = reason
        for subscription in chain(*self._subscriptions):
            subscription.wake.set()

    def resume(self) -> None:
        self.refusing = None

    def announce(self, prewarm: Prewarm) -> None:
        """Tell all who are subscribed now. It is beside the log: who is away, or far behind, misses it."""
        event = sse.encode(prewarm)
        for subscription in chain(*self._subscriptions):
            self._tell_aside(subscription, event)

    def _tell_aside(self, subscription: _Subscription, event: bytes) -> None:
        if len(subscription.aside) + len(event) <= ASIDE:
            subscription.aside += event
            subscription.wake.set()

    @contextlib.contextmanager
    def lane(self, org: str | None) -> Iterator[Lane | None]:
        """The lane of a subscriber of this organisation (None: a node of the platform), while it is served; None where there is no room."""
        if org is None:
            yield PLATFORM
            return
        place = self._places.enter(org)
        if place is None:
            yield None
            return
        tenants = self.settings.tenants
        try:
            match tenants.tier(org):
                case Tier.ENTERPRISE:
                    yield PLATFORM
                case Tier.PRO:
                    yield Lane(1)
                case Tier.FREE:
                    yield Lane(2, tenants.pace)
        finally:
            self._places.leave(place)

    async def serve(
        self, last_id: int | None, write: Write, lane: Lane = PLATFORM, role: str = ""
    ) -> None:
        """Write the stream to one subscriber that has everything up to `last_id` (None: nothing) and says it is a `role`.

        Returns when the server ends the stream. Raises `CallError`: SERVICE_UNAVAILABLE when it can't be served,
        TIMEOUT when the subscriber is too slow; and whatever `write` raises.
        """
        if reason := self.unready:
            raise CallError(SERVICE_UNAVAILABLE, reason)
        subscription = _Subscription(NOTHING if last_id is None else last_id, role)
        peers = self._subscriptions[lane.order]
        peers.add(subscription)
        try:
            await self._pump(subscription, write, lane.pace)
        finally:
            peers.discard(subscription)

    async def _pump(self, subscription: _Subscription, write: Write, pace: float) -> None:
        loop = asyncio.get_running_loop()
        beat_at = loop.time()  # the first at once: it tells the subscriber that all is well
        while self.refusing is None:
            subscription.wake.clear()
            chunk = self._next(subscription)
            if loop.time() >= beat_at and subscription.at >= self.store.seq:
                at = round(loop.time() * 1e9) if self._stamped else 0
                chunk += sse.encode(Heartbeat(self.store.seq, at))
                beat_at = loop.time() + self.settings.heartbeat
            chunk, subscription.aside = chunk + subscription.aside, b""
            if chunk:
                await self._write(subscription, write, chunk)
                if pace:
                    await asyncio.sleep(pace)
                continue
            timer = loop.call_at(beat_at, subscription.wake.set)
            try:
                await subscription.wake.wait()
            finally:
                timer.cancel()

    def _next(self, subscription: _Subscription) -> bytes:
        """What the subscriber lacks, in part or whole, and move its position; b"" when it lacks nothing."""
        changes = None
        if subscription.at != NOTHING:
            changes = self.store.changes_since(subscription.at, BATCH)
        if changes is None:
            subscription.at = self.store.seq
            return self._encode_snapshot()
        if changes:
            subscription.at = changes[-1].seq
        return b"".join([self._encode(change) for change in changes])

    async def _write(self, subscription: _Subscription, write: Write, chunk: bytes) -> None:
        """Piece by piece: who takes each of them in time is slow, but not stuck, however large the whole is."""
        subscription.write_from = self.store.seq
        for begin in range(0, len(chunk), PIECE):
            piece = chunk if len(chunk) <= PIECE else chunk[begin : begin + PIECE]
            await self._write_piece(subscription, write, piece)

    async def _write_piece(self, subscription: _Subscription, write: Write, piece: bytes) -> None:
        try:
            async with asyncio.timeout(self.settings.stall) as subscription.write:
                await write(piece)
        except TimeoutError:
            self.dropped += 1
            raise CallError(TIMEOUT, "the subscriber is too slow") from None
        finally:
            subscription.write = None

    def _encode(self, change: Change) -> bytes:
        encoded = self._encoded.get(change.seq)
        if encoded is None:
            encoded = self._encoded[change.seq] = sse.encode(change)
            if len(self._encoded) > self.settings.ring:
                del self._encoded[next(iter(self._encoded))]
        return encoded

    def _encode_snapshot(self) -> bytes:
        if self._snapshot is None or self._snapshot[0] != self.store.seq:
            state = Snapshot(self.store.seq, self.store.orgs)
            self._snapshot = (self.store.seq, sse.encode(state))
        return self._snapshot[1]

    def _publish(self, cause: Change | Snapshot) -> None:
        if isinstance(cause, Snapshot):
            self._encoded.clear()
            self._snapshot = None
        for subscription in chain(*self._subscriptions):
            subscription.wake.set()
            behind = cause.seq - subscription.write_from
            if subscription.write is not None and behind > self.settings.queue:
                _expire(subscription.write)


def _expire(timeout: asyncio.Timeout) -> None:
    """Let a write fail now. One that has just failed or ended can't be touched any more, and needn't be."""
    if not timeout.expired():
        timeout.reschedule(asyncio.get_running_loop().time())


def last_event_id(header: str | None) -> int | None:
    """The value of `Last-Event-ID`. Raises `CallError` INVALID for what is no position."""
    if header is None or not header.strip():
        return None
    if not header.strip().isascii() or not header.strip().isdigit():
        raise CallError(INVALID, f"Last-Event-ID {header!r} is not a log position")
    return int(header)
