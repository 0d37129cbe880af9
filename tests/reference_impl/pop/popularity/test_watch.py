"""What a PoP does about its hot flags, in virtual time."""

import asyncio
import itertools

from reference_impl.pop.popularity.counting import Popularity, Report, Reports
from reference_impl.pop.popularity.detector import HotSettings
from reference_impl.pop.popularity.watch import Watch
from reference_impl.propagation.types import Prewarm
from tests.reference_impl.support import run_virtual

SETTINGS = HotSettings(threshold=100, hold=3)
POPULAR, RARE, ABSENT = ("acme", "popular"), ("acme", "rare"), ("acme", "absent")


class Flags:
    """A PoP's flags: `held` in memory, `known` to its origin."""

    def __init__(self):
        self.held, self.known = {POPULAR, RARE}, set()

    def holds(self, org, key):
        return (org, key) in self.held

    async def warm(self, org, key):
        if (org, key) in self.known:
            self.held.add((org, key))
        return self.holds(org, key)


def world(test):
    async def main():
        popularity, told, flags = Popularity(SETTINGS), [], Flags()
        watch = Watch("pop-1", "pop-1:boot", popularity, flags, told.append)
        tasks = [asyncio.create_task(watch.run()), asyncio.create_task(watch.make_ready())]
        try:
            await test(watch, popularity, told, flags)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    run_virtual(main())


async def evaluated(popularity, seconds, **rates):
    """So many evaluations a second of each key, ten times a second."""
    for _ in range(round(seconds * 10)):
        for key, rate in rates.items():
            for _ in itertools.repeat(None, rate // 10):
                popularity.count(("acme", key))
        await asyncio.sleep(0.1)


def test_only_what_is_above_the_threshold_is_hot_and_it_is_told_once():
    async def test(watch, popularity, told, _):
        await evaluated(popularity, 5, popular=120, rare=90, absent=500)
        assert popularity.hot == {POPULAR}
        assert told == [Prewarm("pop-1:boot:1", "acme", "popular", "pop-1")]
        assert watch.detector.hot.keys() == {POPULAR}

    world(test)


def test_it_cools_and_a_new_hot_period_is_told_anew():
    async def test(_, popularity, told, __):
        changes = []
        popularity.changed = lambda: changes.append(popularity.hot)
        await evaluated(popularity, 3, popular=120)
        await evaluated(popularity, 6, popular=20)
        assert popularity.hot == set()
        await evaluated(popularity, 3, popular=120)
        assert changes == [{POPULAR}, set(), {POPULAR}]
        assert [prewarm.id for prewarm in told] == ["pop-1:boot:1", "pop-1:boot:2"]

    world(test)


def test_a_flag_of_which_it_hears_is_made_ready_for_once_each_time():
    async def test(watch, _, __, flags):
        flags.known.add(ABSENT)
        watch.take(Prewarm("x:1", *ABSENT, "pop-2"))
        watch.take(Prewarm("x:2", *POPULAR, "pop-2"))
        watch.take(Prewarm("x:3", *POPULAR, "pop-3"))
        watch.take(Prewarm("x:4", "acme", "nowhere", "pop-3"))
        await asyncio.sleep(0.1)
        assert watch.prewarmed == {ABSENT: 1, POPULAR: 2}

    world(test)


def test_workers_are_summed_and_told():
    async def test(watch, popularity, told, _):
        for _ in range(4):
            for worker in range(2):
                watch.orders(Report(worker, [(*POPULAR, 60.0), (*RARE, 40.0)]))
            await asyncio.sleep(1)
        assert popularity.hot == {POPULAR}
        assert len(told) == 1
        watch.take(told[0])
        await asyncio.sleep(0)
        orders = watch.orders(Report(0, []))
        assert (orders.hot, orders.warm) == ([POPULAR], [POPULAR])

    world(test)


def test_a_workers_report_is_its_last_and_not_for_ever():
    reports = Reports(window=1.0)
    reports.take(Report(0, [(*POPULAR, 60.0)]), 0.0)
    reports.take(Report(0, [(*POPULAR, 70.0)]), 1.0)
    reports.take(Report(1, [(*POPULAR, 5.0)]), 2.0)
    assert reports.rates(2.0) == {POPULAR: 75.0}
    assert reports.rates(4.5) == {POPULAR: 5.0}
    assert reports.rates(6.0) == {}


def test_rates_are_of_the_time_that_has_passed():
    async def main():
        popularity = Popularity(SETTINGS)
        popularity.take()
        for _ in range(100):
            popularity.count(POPULAR)
        popularity.count(RARE)
        await asyncio.sleep(2)
        return popularity.take(), popularity.take()

    found, at_once = asyncio_virtual(main)
    assert found == {POPULAR: 50.0}  # what is below a hundredth of the threshold is not told
    assert at_once == {}


def asyncio_virtual(main):
    result = []

    async def whole():
        result.append(await main())

    run_virtual(whole())
    return result[0]
