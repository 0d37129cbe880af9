from __future__ import annotations

import pytest

from faults.crash import Crash
from harness.fault import Undo
from harness.runtime.base import NodeState


@pytest.mark.parametrize("node", ["hub-us", "kv-us", "db-us"])
def test_bites_and_heals(lives, node):
    lives(Crash(node))


def test_says_so_when_it_does_not(honest):
    honest(Crash("hub-us"))


def test_several_at_once(on_cluster):
    async def act(cluster):
        fault = Crash(nodes=("hub-us", "pop-us"))
        await fault.inject(cluster)
        assert {cluster.state(node) for node in fault.nodes} == {NodeState.EXITED}
        await fault.heal(cluster)
        assert (await fault.verify_healed(cluster)).bit

    on_cluster(act)


def test_one_of_two_that_lives_on_is_not_a_crash(on_cluster, monkeypatch):
    async def act(cluster):
        monkeypatch.setattr("faults._common.VERIFY_WITHIN", 0.0)
        await Crash("hub-us").inject(cluster)
        proof = await Crash(nodes=("hub-us", "pop-us")).verify(cluster)
        assert not proof.bit
        assert "pop-us is running" in proof.seen

    on_cluster(act)


def test_is_undone_by_a_start(nodes):
    assert Crash("hub-us").undo(nodes) == (Undo(action="start", subject="hub-us"),)


def test_an_unknown_node_is_said_with_the_nearest(nodes):
    with pytest.raises(
        ValueError, match="crash: no node is called 'hub-uss'; did you mean 'hub-us'"
    ):
        Crash("hub-uss").check(nodes)
    with pytest.raises(ValueError, match="say which node"):
        Crash().check(nodes)
