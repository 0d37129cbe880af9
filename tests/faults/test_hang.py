from __future__ import annotations

import pytest

from faults.hang import Hang
from harness.fault import Undo


@pytest.mark.parametrize("node", ["hub-us", "kv-us", "db-us"])
def test_bites_and_heals(lives, node):
    lives(Hang(node))


def test_says_so_when_it_does_not(honest):
    honest(Hang("hub-us"))


def test_a_dead_node_does_not_hang(on_cluster, monkeypatch):
    async def act(cluster):
        monkeypatch.setattr("faults._common.VERIFY_WITHIN", 0.0)
        await cluster.kill("hub-us")
        proof = await Hang("hub-us").verify(cluster)
        assert not proof.bit
        assert "hub-us is exited" in proof.seen
        assert "refused" in proof.seen

    on_cluster(act)


def test_is_undone_by_a_resume(nodes):
    assert Hang("hub-us").undo(nodes) == (Undo(action="resume", subject="hub-us"),)
