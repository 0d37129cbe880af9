from __future__ import annotations

import pytest

from faults.reset import Reset
from harness.units import Seconds

LINK = "pop-us->hub-us"


@pytest.mark.parametrize("after", [0.0, 0.05])
def test_bites_and_heals(lives, after):
    lives(Reset(LINK, after=Seconds(after)))


def test_says_so_when_it_does_not(honest):
    honest(Reset(LINK))


def test_time_does_not_run_backwards():
    with pytest.raises(ValueError, match="timeout of reset_peer"):
        Reset(LINK, after=Seconds(-1))
