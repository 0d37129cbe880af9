from __future__ import annotations

import pytest

from faults.worker_crash import WorkerCrash
from harness.fault import Undo
from harness.runtime.base import NodeState


def test_bites_and_heals(lives):
    lives(WorkerCrash("crew", index=1))


def test_only_the_one_that_is_meant_ends_and_another_takes_its_name(on_cluster):
    async def act(cluster):
        before = await cluster.processes("crew")
        fault = WorkerCrash("crew", index=1)
        await fault.inject(cluster)
        proof = await fault.verify(cluster)
        assert proof.bit
        assert "worker-1 of crew" in proof.seen
        healed = await fault.verify_healed(cluster)
        assert healed.bit, healed.seen
        after = await cluster.processes("crew")
        assert [p.name for p in after].count("worker-1") == 1
        same = {p.pid for p in before} & {p.pid for p in after}
        assert {p.name for p in before if p.pid not in same} == {"worker-1"}
        assert cluster.state("crew") is NodeState.RUNNING

    on_cluster(act)


def test_says_so_when_nothing_was_killed(on_cluster, monkeypatch):
    async def act(cluster):
        monkeypatch.setattr("faults._common.VERIFY_WITHIN", 0.0)
        proof = await WorkerCrash("crew").verify(cluster)
        assert not proof.bit
        fault = WorkerCrash("crew", index=7)  # there are only two
        await fault.inject(cluster)
        proof = await fault.verify(cluster)
        assert not proof.bit
        assert "no process to end" in proof.seen
        assert "worker-0" in proof.seen
        of_one = WorkerCrash("hub-us")
        await of_one.inject(cluster)
        assert not (await of_one.verify(cluster)).bit

    on_cluster(act)


def test_one_that_lives_on_did_not_crash(on_cluster, monkeypatch):
    async def act(cluster):
        async def nothing(_node, _process):
            pass

        monkeypatch.setattr("faults._common.VERIFY_WITHIN", 0.0)
        monkeypatch.setattr(cluster, "end_process", nothing)
        fault = WorkerCrash("crew")
        await fault.inject(cluster)
        proof = await fault.verify(cluster)
        assert not proof.bit
        assert "lives" in proof.seen

    on_cluster(act)


def test_one_that_is_not_replaced_has_not_healed(on_cluster, monkeypatch):
    async def act(cluster):
        monkeypatch.setattr("faults._common.HEAL_WITHIN", 0.3)
        fault = WorkerCrash("loose-crew")
        await fault.inject(cluster)
        assert (await fault.verify(cluster)).bit
        await fault.heal(cluster)
        healed = await fault.verify_healed(cluster)
        assert not healed.bit
        assert "not replaced" in healed.seen
        await cluster.kill("loose-crew")  # for the tests behind this one
        await cluster.start("loose-crew")

    on_cluster(act)


def test_a_restart_of_the_whole_node_is_no_replacement(on_cluster, monkeypatch):
    async def act(cluster):
        monkeypatch.setattr("faults._common.HEAL_WITHIN", 0.0)
        fault = WorkerCrash("crew")
        await fault.inject(cluster)
        await cluster.kill("crew")
        await cluster.start("crew")
        healed = await fault.verify_healed(cluster)
        assert not healed.bit
        assert "gone too" in healed.seen or "not replaced" in healed.seen

    on_cluster(act)


def test_what_it_chose_is_no_part_of_it(nodes):
    fault = WorkerCrash("crew")
    fault._victims.append(None)
    assert fault == WorkerCrash("crew")
    assert repr(fault) == repr(WorkerCrash("crew"))
    assert fault.undo(nodes) == (Undo(action="start", subject="crew"),)


def test_what_is_wrong_is_said(nodes):
    with pytest.raises(ValueError, match="no node is called 'crw'"):
        WorkerCrash("crw").check(nodes)
    with pytest.raises(ValueError, match="say which node"):
        WorkerCrash().check(nodes)
    with pytest.raises(ValueError, match="counts from 0"):
        WorkerCrash("crew", index=-1).check(nodes)
