"""One source, many subscribers, in virtual time."""

import asyncio
import contextlib
import itertools

import pytest

from reference_impl.propagation import sse
from reference_impl.propagation.fanout import PLATFORM, FanOut, Lane, last_event_id
from reference_impl.propagation.settings import FanOutSettings
from reference_impl.propagation.store import Store
from reference_impl.propagation.types import Change, Heartbeat, Snapshot
from reference_impl.resilience.errors import INVALID, SERVICE_UNAVAILABLE, TIMEOUT, CallError
from reference_impl.tenants.tiers import TenantSettings, Tier
from tests.reference_impl.support import run_virtual


def change(seq):
    return Change(seq, "acme", seq, f"k{seq % 5}", {"state": "ENABLED", "n": seq}, 0)


class Reader:
    """A subscriber: what it got, and when. While `gate` is not set its connection takes nothing."""

    def __init__(self, fanout, last_id=None):
        self.got = []
        self.gate = asyncio.Event()
        self.gate.set()
        self._parser = sse.Parser()
        self.task = asyncio.create_task(fanout.serve(last_id, self.write))

    async def write(self, data):
        await self.gate.wait()
        now = asyncio.get_running_loop().time()
        self.got += [(now, sse.decode(event)) for event in self._parser.feed(data)]

    def messages(self, kind=Change | Snapshot):
        return [message for _, message in self.got if isinstance(message, kind)]


def world(test, ring=10_000, **settings):
    async def main():
        store = Store(ring)
        store.replace(Snapshot(0, {}))
        fanout = FanOut(store, FanOutSettings(**settings))
        await test(store, fanout)

    run_virtual(main())


def publish(store, first, last):
    for seq in range(first, last + 1):
        assert store.apply(change(seq))


def test_everyone_gets_everything_in_order_and_it_is_encoded_once(monkeypatch):
    encoded = []
    monkeypatch.setattr(sse, "encode", lambda m, real=sse.encode: encoded.append(m) or real(m))

    async def test(store, fanout):
        readers = [Reader(fanout) for _ in range(20)]
        for first in range(1, 100, 10):
            publish(store, first, first + 9)
            await asyncio.sleep(0.1)
        for reader in readers:
            changes = reader.messages(Change)
            assert [c.seq for c in changes] == list(range(changes[0].seq, 101))
            assert reader.messages()[0].seq == changes[0].seq - 1
        assert len([m for m in encoded if isinstance(m, Change)]) <= 100
        assert len([m for m in encoded if isinstance(m, Snapshot)]) == 1

    world(test)


@pytest.mark.parametrize("last_id", [0, 3, 9, 10])
def test_it_resumes_after_the_clients_id(last_id):
    async def test(store, fanout):
        publish(store, 1, 10)
        reader = Reader(fanout, last_id)
        await asyncio.sleep(0.1)
        publish(store, 11, 12)
        await asyncio.sleep(0.1)
        assert [c.seq for c in reader.messages()] == list(range(last_id + 1, 13))

    world(test)


def test_what_is_no_longer_kept_is_a_snapshot():
    async def test(store, fanout):
        publish(store, 1, 20)
        inside, outside = Reader(fanout, 15), Reader(fanout, 14)
        await asyncio.sleep(0.1)
        assert [c.seq for c in inside.messages()] == [16, 17, 18, 19, 20]
        assert outside.messages() == [store.snapshot()]

    world(test, ring=5)


def test_a_client_ahead_waits_and_gets_nothing_old():
    async def test(store, fanout):
        publish(store, 1, 3)
        reader = Reader(fanout, 5)
        await asyncio.sleep(0.1)
        publish(store, 4, 7)
        await asyncio.sleep(0.1)
        assert [c.seq for c in reader.messages()] == [6, 7]
        assert reader.messages(Heartbeat)[0].seq == 3

    world(test)


def test_a_heartbeat_each_second_busy_or_idle():
    async def test(store, fanout):
        reader = Reader(fanout)
        await asyncio.sleep(4.5)
        for seq in range(1, 51):
            publish(store, seq, seq)
            await asyncio.sleep(0.1)
        beats = [(round(at, 1), m.seq) for at, m in reader.got if isinstance(m, Heartbeat)]
        assert [seq for _, seq in beats[:5]] == [0] * 5
        gaps = [b[0] - a[0] for a, b in zip(beats, beats[1:], strict=False)]
        assert len(beats) in (9, 10)
        assert all(0.9 <= gap <= 1.15 for gap in gaps), beats
        for at, beat in reader.got:
            if isinstance(beat, Heartbeat):
                before = [m.seq for t, m in reader.got if t <= at and isinstance(m, Change)]
                assert beat.seq <= max(before, default=0)

    world(test)


def test_a_replaced_store_is_a_snapshot_for_all():
    async def test(store, fanout):
        reader = Reader(fanout)
        await asyncio.sleep(0.1)
        store.replace(Snapshot(40, {}))
        publish(store, 41, 41)
        await asyncio.sleep(0.1)
        assert [type(m).__name__ + str(m.seq) for m in reader.messages()] == [
            "Snapshot0",
            "Snapshot41",
        ]

    world(test)


def test_a_slow_reader_is_dropped_and_the_others_are_not_held_up():
    async def test(store, fanout):
        slow, quick = Reader(fanout), Reader(fanout)
        await asyncio.sleep(0.1)
        slow.gate.clear()
        for seq in range(1, 21):
            publish(store, seq, seq)
            await asyncio.sleep(0.01)
        assert [c.seq for c in quick.messages(Change)] == list(range(1, 21))
        assert slow.task.done()
        assert slow.task.exception().kind == TIMEOUT
        assert (fanout.subscribers, fanout.dropped) == (1, 1)
        again = Reader(fanout, 0)
        await asyncio.sleep(0.1)
        assert [c.seq for c in again.messages()] == list(range(1, 21))

    world(test, queue=10, stall=100.0)


def test_a_reader_that_stalls_for_too_long_is_dropped():
    async def test(store, fanout):
        reader = Reader(fanout)
        await asyncio.sleep(0.1)
        reader.gate.clear()
        await asyncio.sleep(5.5)
        assert not reader.task.done()
        await asyncio.sleep(1)
        assert reader.task.exception().kind == TIMEOUT

    world(test, stall=5.0)


def test_a_slow_reader_that_goes_on_reading_gets_a_large_snapshot():
    """What it takes for the whole is far more than `stall`; for no piece of it is it so long."""

    async def test(store, fanout):
        large = {"state": "ENABLED", "text": "x" * 3_000_000}
        assert store.apply(Change(1, "acme", 1, "k", large, 0))
        got = []

        async def write(piece):
            await asyncio.sleep(0.9)
            got.append(piece)

        task = asyncio.create_task(fanout.serve(None, write))
        await asyncio.sleep(30)
        assert not task.done()
        assert len(got) > 10
        message, _ = [sse.decode(event) for event in sse.Parser().feed(b"".join(got))]
        assert isinstance(message, Snapshot)
        assert message.orgs["acme"].flags["k"].flag == large
        task.cancel()

    world(test, stall=1.0, heartbeat=100.0)


def test_suspending_ends_streams_and_refuses_new_ones():
    async def test(store, fanout):
        reader = Reader(fanout)
        await asyncio.sleep(0.1)
        fanout.suspend("no upstream")
        await reader.task
        with pytest.raises(CallError) as caught:
            await fanout.serve(None, reader.write)
        assert (caught.value.kind, caught.value.detail) == (SERVICE_UNAVAILABLE, "no upstream")
        fanout.resume()
        assert fanout.unready is None

    world(test)


def test_without_data_nobody_is_served():
    assert FanOut(Store(), FanOutSettings()).unready == "no data yet"


@pytest.mark.parametrize(("header", "value"), [(None, None), ("", None), ("0", 0), (" 41 ", 41)])
def test_last_event_id(header, value):
    assert last_event_id(header) == value


@pytest.mark.parametrize("header", ["x", "-1", "4.5", "٤", "²"])
def test_what_is_no_position_is_refused(header):
    with pytest.raises(CallError) as caught:
        last_event_id(header)
    assert caught.value.kind == INVALID


# -- tiers ----------------------------------------------------------------------------------------------------------

TIERS = TenantSettings(
    tiers={"acme": Tier.ENTERPRISE, "shop": Tier.PRO, "hobby": Tier.FREE}, streams=4, pace=1.0
)


def test_free_has_a_part_of_the_streams_and_enterprise_its_own():
    async def test(_, fanout):
        with contextlib.ExitStack() as open_now:
            orgs = ["hobby", "hobby", *["shop"] * 5, *["acme"] * 5, None]
            lanes = [open_now.enter_context(fanout.lane(org)) for org in orgs]
        got = [[lane is not None for lane in lanes[a:b]] for a, b in ((0, 2), (2, 7), (7, 12))]
        assert got == [[True, False], [True] * 3 + [False] * 2, [True] * 4 + [False]]
        assert lanes[-1] == PLATFORM
        with fanout.lane("hobby") as again:  # what was left is there again
            assert again == Lane(2, 1.0)

    world(test, tenants=TIERS)


def test_who_pays_more_is_served_first_and_free_at_a_pace():
    async def test(store, fanout):
        order, times = [], []

        async def served(org, note):
            with fanout.lane(org) as lane:
                await fanout.serve(0, note, lane)

        def noting(name):
            async def note(data):
                if b"event: change" in data:
                    order.append(name)
                    if name == "hobby":
                        times.append(asyncio.get_running_loop().time())

            return note

        orgs = ("hobby", "shop", "acme")  # in the order in which they come
        tasks = [asyncio.create_task(served(org, noting(org))) for org in orgs]
        await asyncio.sleep(5.5)
        publish(store, 1, 1)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        first = list(order)
        for seq in range(2, 40):
            publish(store, seq, seq)
            await asyncio.sleep(0.1)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert [name for name in first if name != "hobby"] == ["acme", "shop"]
        assert order.count("acme") == order.count("shop") == 39
        assert all(b - a >= 0.999 for a, b in itertools.pairwise(times))
        assert len(times) >= 3

    world(test, tenants=TIERS)
