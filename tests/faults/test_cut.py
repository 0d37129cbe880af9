from __future__ import annotations

import pytest

from faults.cut import Cut
from harness.fault import Undo

LINK = "pop-us->hub-us"


@pytest.mark.parametrize("link", [LINK, "pop-us->kv-us", "api-us->db-us"])
def test_bites_and_heals(lives, link):
    lives(Cut(link))


def test_says_so_when_it_does_not(honest):
    honest(Cut(LINK))


def test_other_links_go_on(on_cluster):
    async def act(cluster):
        await Cut(LINK).inject(cluster)
        assert (await Cut("pop-eu->hub-us").verify_healed(cluster)).bit

    on_cluster(act)


def test_a_dead_node_behind_a_whole_link_is_not_a_cut(on_cluster, monkeypatch):
    async def act(cluster):
        monkeypatch.setattr("faults._common.VERIFY_WITHIN", 0.0)
        await cluster.kill("hub-us")
        proof = await Cut(LINK).verify(cluster)
        assert not proof.bit
        assert "connected, then" in proof.seen
        assert "hub-us itself: refused" in proof.seen

    on_cluster(act)


@pytest.mark.parametrize(
    ("fault", "links"),
    [
        (Cut(LINK), {LINK}),
        (Cut(links=(LINK, "pop-us->kv-us")), {LINK, "pop-us->kv-us"}),
        (Cut(from_="pop", to="hub"), {LINK, "pop-eu->hub-us"}),
        (Cut(from_=("pop-us", "hub")), {LINK, "pop-us->kv-us", "hub-us->api-us"}),
        (Cut(to="hub-us"), {LINK, "pop-eu->hub-us"}),
        (Cut(use="stream", from_="pop-eu"), {"pop-eu->hub-us"}),
        (Cut(LINK, to="hub"), {LINK, "pop-eu->hub-us"}),
    ],
)
def test_which_links_are_meant(nodes, fault, links):
    fault.check(nodes)
    assert set(fault.targets(nodes)) == links
    assert {each.subject for each in fault.undo(nodes)} == links
    assert fault.undo(nodes)[0].action == Undo(action="restore", subject="").action


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (Cut("pop-us->hubus"), "no link is called 'pop-us->hubus'; did you mean 'pop-us->hub-us'"),
        (Cut(from_="pops"), "no node or role is called 'pops'; did you mean 'pop'"),
        (Cut(use="streams"), "no use of a link is called 'streams'; did you mean 'stream'"),
        (Cut(from_="hub", to="pop"), "no link is like that"),
        (Cut(), "say which link"),
    ],
)
def test_what_is_not_there_is_said(nodes, fault, says):
    with pytest.raises(ValueError) as caught:
        fault.check(nodes)
    assert says in str(caught.value)
    assert str(caught.value).startswith("cut: ")
    assert "\n" not in str(caught.value)
