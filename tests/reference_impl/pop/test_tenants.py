"""What organisations may take of a PoP, by tier and level; in virtual time."""

import asyncio

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_impl.pop.levels import CHAIN, Level
from reference_impl.pop.tenants import Bucket, Tenants
from reference_impl.tenants.tiers import Places, TenantSettings, Tier
from tests.reference_impl.support import run_virtual

TIERS = {"acme": Tier.ENTERPRISE, "shop": Tier.PRO, "hobby": Tier.FREE, "club": Tier.FREE}
SETTINGS = TenantSettings(tiers=TIERS, free=(20, 2, 0), pro=(None, None, 10))


@given(
    st.floats(0.1, 50),
    st.lists(st.floats(0, 3), min_size=1, max_size=60),
)
def test_a_bucket_gives_no_more_than_its_rate_and_says_when_to_come_again(rate, pauses):
    bucket, now, taken = Bucket(rate, 0.0), 0.0, []
    for pause in pauses:
        now += pause
        wait = bucket.take(now)
        if wait:
            assert wait <= 1 / rate + 1e-9
            assert Bucket.take(bucket, now + wait + 1e-6) == 0.0
            now += wait + 1e-6
        taken.append(now)
    for n, begin in enumerate(taken):
        for m in range(n, len(taken)):
            most = max(rate, 1.0) + rate * (taken[m] - begin)
            assert m - n + 1 <= most + 1e-6


def test_a_bucket_that_is_never_empty_serves_its_rate():
    bucket = Bucket(20, 0.0)
    served = sum(not bucket.take(n / 100) for n in range(1000))
    assert 20 + 9.9 * 20 <= served <= 20 + 10 * 20


def test_another_rate_takes_away_what_is_over_a_seconds_worth():
    bucket = Bucket(20, 0.0)
    bucket.set_rate(2, 0.0)
    assert [bucket.take(0.0) for _ in range(3)] == [0.0, 0.0, 0.5]


def served(settings, level, org, rate=100, seconds=10):
    """How many of so many requests a second are served, and the last wait that was told."""
    found = []

    async def main():
        tenants, told = Tenants(settings, level), 0.0
        count = 0
        for _ in range(rate * seconds):
            wait = tenants.wait(org) if tenants.limiting else 0.0
            count, told = (count + 1, told) if not wait else (count, wait)
            await asyncio.sleep(1 / rate)
        found.append((count / seconds, told))

    run_virtual(main())
    return found[0]


@pytest.mark.parametrize("level", CHAIN)
def test_enterprise_is_never_turned_away(level):
    assert served(SETTINGS, level, "acme") == (100, 0.0)


@pytest.mark.parametrize(
    ("org", "level", "rate", "wait"),
    [
        ("hobby", Level.HEALTHY, 20, 0.05),
        ("hobby", Level.DEGRADED_L1, 2, 0.5),
        ("hobby", Level.DEGRADED_L2, 0, 5.0),
        ("hobby", Level.EMERGENCY, 0, 5.0),
        ("shop", Level.HEALTHY, 100, 0.0),
        ("shop", Level.DEGRADED_L1, 100, 0.0),
        ("shop", Level.DEGRADED_L2, 10, 0.1),
        ("nobody", Level.DEGRADED_L2, 10, 0.1),
    ],
)
def test_free_gives_way_first_and_then_pro(org, level, rate, wait):
    seen, told = served(SETTINGS, level, org)
    assert rate <= seen <= rate * 1.1 + 0.2
    assert told <= wait + 1e-9


def test_one_organisations_flood_takes_nothing_from_another_of_its_tier():
    async def main():
        tenants = Tenants(SETTINGS, Level.HEALTHY)
        for _ in range(100):
            tenants.wait("hobby")
        assert tenants.wait("hobby")
        assert [tenants.wait("club") for _ in range(20)] == [0.0] * 20

    run_virtual(main())


def test_those_who_are_not_named_share_one_limit():
    async def main():
        tenants = Tenants(msgspec.structs.replace(SETTINGS, default=Tier.FREE), Level.HEALTHY)
        waits = [tenants.wait(f"org-{n}") for n in range(100)]
        assert waits.count(0.0) == 20

    run_virtual(main())


def test_workers_have_their_share():
    async def main():
        tenants = Tenants(SETTINGS, Level.HEALTHY)
        tenants.share = 1 / 4
        assert [bool(tenants.wait("hobby")) for _ in range(6)] == [False] * 5 + [True]

    run_virtual(main())


def test_where_nobody_is_limited_nobody_needs_to_ask():
    tenants = Tenants(TenantSettings(), Level.HEALTHY)
    assert not tenants.limiting
    tenants.at(Level.DEGRADED_L2)
    assert tenants.limiting
    assert Tenants(SETTINGS, Level.HEALTHY).limiting


# -- places ----------------------------------------------------------------------------------------------------------


def places(size=8):
    return Places(SETTINGS, size)


def taken(places, *orgs):
    return [places.enter(org) is not None for org in orgs].count(True)


def test_free_gets_a_part_pro_all_that_is_shared_and_enterprise_its_own():
    each = places()
    assert taken(each, *["hobby", "club"] * 20) == 2
    assert taken(each, *["shop", "nobody"] * 20) == 6
    assert taken(each, *["acme"] * 20) == 8
    assert each.taken == {"FREE": 2, "PRO": 6, "org acme": 8}


def test_pro_leaves_free_nothing_but_what_free_has():
    each = places()
    assert taken(each, *["shop"] * 20) == 8
    assert taken(each, "hobby", "hobby", "hobby") == 2
    assert taken(each, "shop") == 0


@given(st.lists(st.sampled_from(["acme", "shop", "hobby", "club", "leave"]), max_size=80))
def test_what_is_left_can_be_taken_again(acts):
    each, held = places(), []
    for act in acts:
        if act == "leave" and held:
            each.leave(held.pop(0))
        elif act != "leave" and (place := each.enter(act)):
            held.append(place)
        assert sum(each.taken.values()) == len(held)
        assert each.taken.get("FREE", 0) <= 2
        assert each.taken.get("org acme", 0) <= 8
    for place in held:
        each.leave(place)
    assert each.taken == {}
