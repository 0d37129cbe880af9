"""Zones and regions: everything across the border, nothing inside."""

from __future__ import annotations

import pytest

from faults._whole import Severing
from faults.cut import Cut
from faults.region_isolation import RegionIsolation
from faults.zone_isolation import ZoneIsolation


@pytest.mark.parametrize("mode", Severing)
@pytest.mark.parametrize(
    "kind", [lambda mode: ZoneIsolation("us-a", mode), lambda mode: RegionIsolation("eu", mode)]
)
def test_bites_and_heals(lives, kind, mode):
    lives(kind(mode))


@pytest.mark.parametrize("fault", [ZoneIsolation("us-b"), RegionIsolation("us")])
def test_says_so_when_it_does_not(honest, fault):
    honest(fault)


def test_the_border_is_the_zones_own(nodes):
    assert set(ZoneIsolation("us-a").targets(nodes)) == {"pop-us->hub-us"}
    assert set(ZoneIsolation("us-b").targets(nodes)) == {"pop-us->hub-us", "pop-eu->hub-us"}
    assert set(RegionIsolation("us").targets(nodes)) == {"pop-eu->hub-us"}


def test_inside_all_goes_on(on_cluster):
    async def act(cluster):
        await ZoneIsolation("us-a", Severing.CUT).inject(cluster)
        assert (await Cut(links=("pop-us->kv-us", "hub-us->api-us")).verify_healed(cluster)).bit

    on_cluster(act)


def test_one_link_left_over_is_not_an_isolation(on_cluster, monkeypatch):
    async def act(cluster):
        monkeypatch.setattr("faults._common.VERIFY_WITHIN", 0.0)
        fault = ZoneIsolation("us-b", Severing.CUT)
        await fault.inject(cluster)
        await cluster.network.restore("pop-eu->hub-us")
        proof = await fault.verify(cluster)
        assert not proof.bit
        assert "pop-eu->hub-us: answered" in proof.seen

    on_cluster(act)


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (ZoneIsolation("us-c"), "zone_isolation: no zone is called 'us-c'; did you mean"),
        (RegionIsolation("uk"), "region_isolation: no region is called 'uk'"),
    ],
)
def test_what_is_not_there_is_said(nodes, fault, says):
    with pytest.raises(ValueError, match=says):
        fault.check(nodes)
