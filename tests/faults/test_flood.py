from __future__ import annotations

import asyncio

import pytest

from faults.flood import Flood


def test_bites_and_heals(on_cluster):
    async def act(cluster):
        fault = Flood("pop-us", path="/x", rate=50)
        fault.check(cluster)
        assert fault.targets(cluster) == ("pop-us",)
        assert (await fault.verify_healed(cluster)).bit
        for _ in range(2):
            await fault.inject(cluster)
        proof = await fault.verify(cluster)
        assert proof.bit, proof.seen
        assert "50 wanted" in proof.seen
        for _ in range(2):
            await fault.heal(cluster)
        healed = await fault.verify_healed(cluster)
        assert healed.bit, healed.seen
        assert not [task for task in asyncio.all_tasks() if task.get_name() == "flood"]

    on_cluster(act)


def test_says_so_when_it_does_not(on_cluster, monkeypatch):
    async def act(cluster):
        monkeypatch.setattr("faults._common.HEAL_WITHIN", 0.0)
        monkeypatch.setattr("faults.flood.SHOWN_WITHIN", 0.3)
        assert not (await Flood("pop-us").verify(cluster)).bit
        await cluster.kill("pop-us")
        fault = Flood("pop-us", rate=50)
        await fault.inject(cluster)
        proof = await fault.verify(cluster)
        assert not proof.bit
        assert "0 answers/s" in proof.seen
        assert "CONNECTION_REFUSED" in proof.seen
        assert not (await fault.verify_healed(cluster)).bit
        await fault.heal(cluster)
        assert not (await fault.verify_healed(cluster)).bit  # it is over, but nobody serves
        await cluster.start("pop-us")

    on_cluster(act)


def test_what_is_wrong_is_said(nodes):
    with pytest.raises(ValueError, match="no node is called 'popus'"):
        Flood("popus").check(nodes)
    with pytest.raises(ValueError, match="say which node"):
        Flood().check(nodes)
    with pytest.raises(ValueError, match="rate must be"):
        Flood("pop-us", rate=0)
    with pytest.raises(ValueError, match="begin with /"):
        Flood("pop-us", path="x")
