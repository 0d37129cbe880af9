from __future__ import annotations

import pytest

from faults.bandwidth import Bandwidth
from harness.network.base import Direction

LINK = "pop-us->hub-us"


@pytest.mark.parametrize(
    ("link", "direction"),
    [
        (LINK, Direction.DOWNSTREAM),
        (LINK, Direction.UPSTREAM),
        ("pop-us->kv-us", Direction.DOWNSTREAM),
    ],
)
def test_bites_and_heals(lives, link, direction):
    lives(Bandwidth(link, rate=2, direction=direction))


def test_says_so_when_it_does_not(honest):
    honest(Bandwidth(LINK, rate=2))


def test_a_limit_too_high_to_be_seen_is_not_claimed(on_cluster, monkeypatch):
    async def act(cluster):
        monkeypatch.setattr("faults._common.VERIFY_WITHIN", 0.0)
        fault = Bandwidth(LINK, rate=1_000_000)
        await fault.inject(cluster)
        assert not (await fault.verify(cluster)).bit

    on_cluster(act)


def test_nor_one_in_front_of_postgres(on_cluster, monkeypatch):
    async def act(cluster):
        monkeypatch.setattr("faults._common.VERIFY_WITHIN", 0.0)
        fault = Bandwidth("api-us->db-us", rate=2)
        await fault.inject(cluster)
        proof = await fault.verify(cluster)
        assert not proof.bit
        assert "can't be measured" in proof.seen

    on_cluster(act)


def test_a_rate_of_nothing_is_refused():
    with pytest.raises(ValueError, match="rate of bandwidth is 1 to"):
        Bandwidth(LINK, rate=0)
