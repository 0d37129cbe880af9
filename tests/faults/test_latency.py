from __future__ import annotations

import pytest

from faults.latency import Latency
from harness.network.base import Direction
from harness.units import Seconds

LINK = "pop-us->hub-us"


@pytest.mark.parametrize("direction", Direction)
def test_bites_and_heals(lives, direction):
    lives(Latency(LINK, latency=Seconds(0.2), jitter=Seconds(0.02), direction=direction))


def test_says_so_when_it_does_not(honest):
    honest(Latency(LINK, latency=Seconds(0.2)))


def test_less_than_was_asked_for_does_not_count(on_cluster, monkeypatch):
    async def act(cluster):
        monkeypatch.setattr("faults._common.VERIFY_WITHIN", 0.0)
        await Latency(LINK, latency=Seconds(0.05)).inject(cluster)
        proof = await Latency(LINK, latency=Seconds(0.5)).verify(cluster)
        assert not proof.bit
        assert "delay wanted 500 ms" in proof.seen

    on_cluster(act)


@pytest.mark.parametrize(
    "fields", [{"latency": 0}, {"latency": 0.1, "jitter": 0.1}, {"latency": 99999}]
)
def test_what_cannot_be_is_refused(fields):
    with pytest.raises(ValueError, match="latency"):
        Latency(LINK, **fields)
