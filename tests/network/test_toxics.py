from __future__ import annotations

import pytest

from harness.network.base import Direction, Toxic
from harness.network.toxics import checked


def toxic(kind: str, name: str = "t", toxicity: float = 1.0, **attributes) -> Toxic:
    return Toxic(name, kind, Direction.UPSTREAM, attributes, toxicity)


def test_defaults_are_filled_in():
    assert checked(toxic("latency", latency=100)) == {"latency": 100, "jitter": 0}
    assert checked(toxic("slicer", average_size=10)) == {
        "average_size": 10,
        "size_variation": 0,
        "delay": 0,
    }


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (toxic("slicer", average_size=0), "average_size of slicer is 1 to 1000000, not 0"),
        (toxic("slicer", average_size=5, size_variation=5), "not below average_size 5"),
        (toxic("bandwidth", rate=0), "rate of bandwidth is 1 to"),
        (toxic("latency", latency=10, jitter=11), "jitter 11 is more than latency 10"),
        (toxic("latency", latency=-1), "not -1"),
        (toxic("latency", latency=1.5), "whole number, not 1.5"),
        (toxic("latency", latency=True), "whole number, not True"),
        (toxic("latency", jitter=1), "latency needs the attribute 'latency'"),
        (toxic("latency", latency=1, delay=1), "latency has no attribute 'delay'"),
        (toxic("lateny", latency=1), "did you mean 'latency'"),
        (toxic("timeout", timeout=0, name="a b"), "can't be named 'a b'"),
        (toxic("timeout", timeout=0, name="../x"), "can't be named"),
        (toxic("timeout", timeout=0, toxicity=1.1), "share of 0 to 1"),
        (toxic("timeout", timeout=0, toxicity=float("nan")), "share of 0 to 1"),
    ],
)
def test_what_cannot_be_sent_is_said_in_one_line(bad, says):
    with pytest.raises(ValueError) as caught:
        checked(bad)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
