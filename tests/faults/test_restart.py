from __future__ import annotations

from faults.restart import Restart
from harness.runtime.base import NodeState


def test_bites_and_heals(lives):
    lives(Restart("pop-us"))


def test_it_is_another_process_afterwards(on_cluster):
    async def act(cluster):
        before = cluster.running["pop-us"].pid
        await Restart("pop-us").inject(cluster)
        assert cluster.running["pop-us"].pid != before
        assert cluster.state("pop-us") is NodeState.RUNNING

    on_cluster(act)


def test_says_so_when_it_does_not(on_cluster, monkeypatch):
    async def act(cluster):
        monkeypatch.setattr("faults._common.VERIFY_WITHIN", 0.0)
        proof = await Restart("pop-us").verify(cluster)
        assert not proof.bit
        assert proof.seen == "pop-us was never seen down"

    on_cluster(act)


def test_one_that_does_not_go_down_did_not_bite(on_cluster, monkeypatch):
    async def act(cluster):
        async def nothing(_node):
            pass

        monkeypatch.setattr("faults._common.VERIFY_WITHIN", 0.0)
        monkeypatch.setattr(cluster, "stop", nothing)
        monkeypatch.setattr(cluster, "start", nothing)
        fault = Restart("pop-us")
        await fault.inject(cluster)
        proof = await fault.verify(cluster)
        assert not proof.bit
        assert "running" in proof.seen

    on_cluster(act)


def test_what_it_saw_is_no_part_of_it():
    fault = Restart("pop-us")
    fault._down["pop-us"] = None
    assert fault == Restart("pop-us")
    assert repr(fault) == repr(Restart("pop-us"))
