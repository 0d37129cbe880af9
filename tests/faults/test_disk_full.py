from __future__ import annotations

import pytest

from faults.disk_full import DiskFull
from harness.runtime import limits


def test_bites_and_heals(lives):
    lives(DiskFull("db-us"))


def test_of_a_node_of_several_processes(lives):
    lives(DiskFull(nodes=("crew", "kv-us")))


def test_says_so_when_it_does_not(honest):
    honest(DiskFull("db-us"))


def test_a_node_that_ends_of_it_is_started_again(on_cluster):
    async def act(cluster):
        fault = DiskFull("kv-us")
        await fault.inject(cluster)
        await cluster.kill("kv-us")
        proof = await fault.verify(cluster)
        assert proof.bit
        assert proof.seen.endswith("; kv-us ended of it")
        await fault.heal(cluster)
        assert (await fault.verify_healed(cluster)).bit

    on_cluster(act)


def test_a_dead_node_is_none_whose_disk_is_full(on_cluster):
    async def act(cluster):
        fault = DiskFull("kv-us")
        await cluster.kill("kv-us")
        await fault.inject(cluster)
        return await fault.verify(cluster)

    proof = on_cluster(act)
    assert not proof.bit
    assert "0 of 0 processes" in proof.seen


def test_a_process_of_it_that_may_write_is_told(on_cluster):
    async def act(cluster):
        fault = DiskFull("crew")
        await fault.inject(cluster)
        limits.lift([(await cluster.processes("crew"))[-1].pid])
        proof = await fault.verify(cluster)
        await fault.heal(cluster)
        return proof

    assert not on_cluster(act).bit


def test_its_undo_lifts_and_starts(nodes):
    undos = [(undo.action, undo.subject) for undo in DiskFull("kv-us").undo(nodes)]
    assert undos == [("lift", "kv-us"), ("start", "kv-us")]


def test_where_processes_are_out_of_reach_it_is_refused(nodes, monkeypatch):
    monkeypatch.setattr(nodes, "has_files", False)
    with pytest.raises(ValueError, match="no processes of this one"):
        DiskFull("db-us").check(nodes)
