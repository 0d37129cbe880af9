import asyncio

import pytest

from harness.probes.schedule import Schedule, interval_of, phase_of
from harness.units import now_ns
from tests.probes.probe_support import until

MS = 1_000_000


def schedule(act, origin, *, interval=5 * MS, limit=1000, abandoned=None, start=0):
    sink = [] if abandoned is None else abandoned
    return Schedule(act, sink.append, interval=interval, start=start, origin_ns=origin, limit=limit)


def test_a_stall_changes_neither_due_times_nor_the_sending(both_loops):
    """Nobody is answered, and still each request goes out at its place in the grid."""

    async def main():
        fired, answered, release, stop = [], [], asyncio.Event(), asyncio.Event()

        async def act(firing):
            fired.append(firing)
            await release.wait()
            answered.append(firing.op)

        one = schedule(act, now_ns())
        task = asyncio.create_task(one.run(stop, 5.0))
        await until(lambda: len(fired) >= 40, lambda: one)
        assert answered == []
        release.set()
        stop.set()
        counts = await task
        assert [f.due for f in fired] == [n * 5 * MS for n in range(len(fired))]
        assert [f.op for f in fired] == list(range(len(fired))) == sorted(answered)
        assert all(f.sent >= f.due for f in fired)
        assert counts.latest == max(f.sent - f.due for f in fired)
        assert (counts.sent, counts.skipped, counts.abandoned) == (len(fired), 0, 0)

    both_loops(main())


def test_a_late_generator_sends_what_was_due_and_says_how_late(both_loops):
    async def main():
        fired, stop = [], asyncio.Event()

        async def act(firing):
            fired.append(firing)
            if firing.op == 3:
                held = now_ns() + 60 * MS
                while now_ns() < held:  # the process itself is busy: nothing can be sent
                    pass

        one = schedule(act, now_ns())
        task = asyncio.create_task(one.run(stop, 5.0))
        await until(lambda: len(fired) > 20, lambda: one)
        stop.set()
        counts = await task
        assert [f.due for f in fired] == [n * 5 * MS for n in range(len(fired))]
        assert counts.latest >= 50 * MS
        assert fired[4].sent - fired[4].due >= 50 * MS
        assert counts.skipped == 0

    both_loops(main())


def test_what_is_over_the_limit_is_counted_and_the_unanswered_is_abandoned(run):
    async def main():
        fired, abandoned, stop = [], [], asyncio.Event()

        async def act(firing):
            fired.append(firing)
            await asyncio.Event().wait()

        one = schedule(act, now_ns(), limit=3, abandoned=abandoned)
        task = asyncio.create_task(one.run(stop, 0.05))
        await until(lambda: one.counts.skipped >= 5, lambda: one)
        stop.set()
        counts = await task
        assert [f.op for f in fired] == [0, 1, 2]
        assert abandoned == fired
        assert (counts.sent, counts.abandoned) == (3, 3)
        assert counts.skipped >= 5

    run(main())


def test_skipping_ends_when_answers_come(run):
    async def main():
        release, fired, stop = asyncio.Event(), [], asyncio.Event()

        async def act(firing):
            fired.append(firing)
            await release.wait()

        one = schedule(act, now_ns(), limit=1)
        task = asyncio.create_task(one.run(stop, 5))
        await until(lambda: one.counts.skipped >= 3, lambda: one)
        release.set()
        await until(lambda: len(fired) >= 3, lambda: one)
        stop.set()
        counts = await task
        assert counts.sent == len(fired)
        # Every place of the grid up to the last one is either sent or counted as skipped.
        assert counts.sent + counts.skipped >= fired[-1].op + 1
        assert {f.op for f in fired}.isdisjoint(range(1, 4))

    run(main())


def test_stops_at_once_before_its_first_due_time(run):
    async def main():
        stop = asyncio.Event()
        stop.set()

        async def act(firing):
            raise AssertionError(firing)

        origin = now_ns()
        one = schedule(act, origin, start=10_000_000 * MS)
        assert (await one.run(stop, 1)).sent == 0
        assert now_ns() - origin < 5_000 * MS

    run(main())


def test_an_error_of_the_act_is_raised_not_recorded(run):
    async def main():
        async def act(firing):
            raise OSError("disk full")

        with pytest.raises(OSError, match="disk full"):
            await schedule(act, now_ns()).run(asyncio.Event(), 1)

    run(main())


def test_cancelling_ends_all_firings(run):
    async def main():
        ended, fired = [], []

        async def act(firing):
            fired.append(firing)
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(firing)

        task = asyncio.create_task(schedule(act, now_ns()).run(asyncio.Event(), 1))
        await until(lambda: len(fired) >= 3, lambda: fired)
        task.cancel()
        await asyncio.wait({task})
        await until(lambda: len(ended) == len(fired), lambda: ended)
        assert task.cancelled()

    run(main())


def test_rate_and_phase():
    assert interval_of(200) == 5 * MS
    with pytest.raises(ValueError, match="must be more than 0"):
        interval_of(0)
    phases = {phase_of(f"probe-{n}", 5 * MS) for n in range(50)}
    assert all(0 <= p < 5 * MS for p in phases)
    assert len(phases) > 40
    assert phase_of("a", 1000) == phase_of("a", 1000)
