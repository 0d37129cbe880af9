from __future__ import annotations

import pytest

from faults.blackhole import Blackhole
from faults.half_open import HalfOpen
from harness.network.base import Direction

LINK = "pop-us->hub-us"


@pytest.mark.parametrize("direction", Direction)
def test_bites_and_heals(lives, direction):
    lives(HalfOpen(LINK, direction=direction))


def test_says_so_when_it_does_not(honest):
    honest(HalfOpen(LINK))


def test_a_blackhole_is_not_half_open(on_cluster, monkeypatch):
    async def act(cluster):
        monkeypatch.setattr("faults._common.VERIFY_WITHIN", 0.0)
        await Blackhole(LINK).inject(cluster)
        assert not (await HalfOpen(LINK).verify(cluster)).bit

    on_cluster(act)
