from __future__ import annotations

import pytest

from faults.blackhole import Blackhole

LINK = "pop-us->hub-us"


@pytest.mark.parametrize("link", [LINK, "pop-us->kv-us", "api-us->db-us"])
def test_bites_and_heals(lives, link):
    lives(Blackhole(link))


def test_says_so_when_it_does_not(honest):
    honest(Blackhole(LINK))


def test_a_hanging_node_behind_a_whole_link_is_not_a_blackhole(on_cluster, monkeypatch):
    async def act(cluster):
        monkeypatch.setattr("faults._common.VERIFY_WITHIN", 0.0)
        await cluster.pause("hub-us")
        proof = await Blackhole(LINK).verify(cluster)
        assert not proof.bit
        assert "hub-us itself: connected, no answer" in proof.seen

    on_cluster(act)


def test_is_undone_toxic_by_toxic(nodes):
    undo = Blackhole(LINK).undo(nodes)
    assert {(each.action, each.subject, each.detail) for each in undo} == {
        ("remove-toxic", LINK, "blackhole-upstream"),
        ("remove-toxic", LINK, "blackhole-downstream"),
    }
