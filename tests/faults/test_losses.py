"""PoPs, hubs, key-value stores and the origin: each way in which each is lost."""

from __future__ import annotations

import pytest

from faults._whole import Loss
from faults.dns_loss import DnsLoss
from faults.hub_failure import HubFailure
from faults.kv_loss import KvLoss
from faults.object_store_loss import ObjectStoreLoss
from faults.origin_loss import Answer, OriginLoss, What
from faults.pop_failure import PopFailure

KINDS = [
    (PopFailure, "pop-us"),
    (HubFailure, "hub-us"),
    (KvLoss, "kv-us"),
    (ObjectStoreLoss, "store-eu"),
]


@pytest.mark.parametrize("mode", Loss)
@pytest.mark.parametrize(("kind", "node"), KINDS)
def test_a_node_is_lost_and_comes_back(lives, kind, node, mode):
    lives(kind(node, mode))


@pytest.mark.parametrize("mode", Loss)
def test_says_so_when_it_is_not(honest, mode):
    honest(HubFailure("hub-us", mode))


def test_isolation_is_from_everyone(nodes):
    assert set(HubFailure("hub-us", Loss.ISOLATION).targets(nodes)) == {
        "pop-us->hub-us",
        "pop-eu->hub-us",
        "hub-us->api-us",
    }


@pytest.mark.parametrize("mode", Answer)
@pytest.mark.parametrize("what", What)
def test_the_origin_is_lost_and_comes_back(lives, mode, what):
    lives(OriginLoss(mode, what))


@pytest.mark.parametrize("mode", Answer)
def test_says_so_when_the_origin_is_not(honest, mode):
    honest(OriginLoss(mode))


def test_what_of_the_origin(nodes):
    assert OriginLoss().targets(nodes) == ("hub-us->api-us",)
    assert OriginLoss(what=What.NODES).targets(nodes) == ("api-us",)
    with pytest.raises(ValueError, match="origin_loss: .*no link is like that"):
        OriginLoss(edge=("pop-us",)).check(nodes)
    with pytest.raises(ValueError, match="no node or role is called pops"):
        OriginLoss(edge=("pops",)).check(nodes)


@pytest.mark.parametrize("mode", [Loss.CRASH, Loss.HANG])
def test_all_dns_servers_are_lost_and_come_back(lives, honest, nodes, mode):
    lives(DnsLoss(mode))
    honest(DnsLoss(mode))
    assert DnsLoss(mode).targets(nodes) == ("dns-us", "dns-eu")
    assert DnsLoss(mode, ("dns-eu",)).targets(nodes) == ("dns-eu",)


def test_dns_servers_can_not_be_isolated():
    with pytest.raises(ValueError, match="past all links; use the mode crash or hang"):
        DnsLoss(Loss.ISOLATION)


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (DnsLoss(nodes=("dns",)), "dns_loss: no DNS server is called 'dns'; did you mean 'dns-"),
        (ObjectStoreLoss("stor-eu"), "no object store is called 'stor-eu'; did you mean 'store-eu"),
        (PopFailure("hub-us"), "pop_failure: no pop is called 'hub-us'"),
        (HubFailure("hub-uss"), "hub_failure: no hub is called 'hub-uss'; did you mean 'hub-us'"),
        (KvLoss("kv"), "kv_loss: no redis is called 'kv'; did you mean 'kv-us'"),
    ],
)
def test_what_is_not_there_is_said(nodes, fault, says):
    with pytest.raises(ValueError, match=says):
        fault.check(nodes)
