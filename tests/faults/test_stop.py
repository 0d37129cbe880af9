from __future__ import annotations

from faults.stop import Stop


def test_bites_and_heals(lives):
    lives(Stop("pop-us"))


def test_says_so_when_it_does_not(honest):
    honest(Stop("pop-us"))
