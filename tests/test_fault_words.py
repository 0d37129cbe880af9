from __future__ import annotations

import pytest

from harness.errors import SquallError
from harness.fault_words import describe, fault_of
from harness.faults_registry import load_faults
from harness.network.base import Direction


@pytest.fixture(scope="module")
def faults():
    return load_faults()


def given(faults, name, *words):
    """The fields that differ from what they are by default, or must be given."""
    built = fault_of(faults, name, words)
    return {
        key: value
        for key, value in vars(built).items()
        if not hasattr(type(built), key) or getattr(type(built), key) != value
    }


@pytest.mark.parametrize(
    ("words", "fields"),
    [
        (["crash", "hub-1"], {"node": "hub-1"}),
        (["crash", "node=hub-1"], {"node": "hub-1"}),
        (["crash", "123"], {"node": "123"}),
        (["crash", "hub-1,hub-2"], {"nodes": ("hub-1", "hub-2")}),
        (["crash", "nodes=hub-1, hub-2,"], {"nodes": ("hub-1", "hub-2")}),
        (["crash", "nodes=hub-1"], {"nodes": ("hub-1",)}),
        (["cut", "a->b:use"], {"link": "a->b:use"}),
        (["cut", "link=a->b:use"], {"link": "a->b:use"}),
        (["cut", "from=pop", "to=hub-1,hub-2"], {"from_": "pop", "to": ("hub-1", "hub-2")}),
        (["latency", "a->b", "latency=200ms"], {"link": "a->b", "latency": 0.2}),
        (["latency", "a->b", "latency=2"], {"link": "a->b", "latency": 2.0}),
        (["half_open", "a->b", "direction=upstream"], {"link": "a->b", "direction": Direction.UPSTREAM}),
        (["bandwidth", "link=a->b", "rate=5"], {"link": "a->b", "rate": 5}),
        (["origin_loss"], {}),
        (["origin_loss", "origin=api"], {"origin": ("api",)}),
    ],
)  # fmt: skip
def test_words_become_fields(faults, words, fields):
    assert given(faults, *words) == fields


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["crsh", "x"], "unknown fault 'crsh'; did you mean 'crash'? (known: bandwidth"),
        (["latency", "latncy=1s"], "unknown key 'latncy'; did you mean 'latency'?"),
        (["latency", "a->b", "latency=fast"], "'fast' is not a duration"),
        (["latency", "a->b", "latency=-1s"], "a duration can't be negative"),
        (["latency", "a->b", "latency="], "latency"),
        (["bandwidth", "a->b", "rate=much"], "must be a whole number, but is a text ('much')"),
        (["half_open", "a->b", "direction=upsteam"], "'upsteam'; did you mean 'upstream'?"),
        (["crash", "a", "b"], "'node' is given twice"),
        (["crash", "a", "node=b"], "'node' is given twice"),
        (["pop_failure", "mode=crash"], "'node' is missing"),
        (["pop_failure"], "'node' is missing"),
        (["bandwidth", "a->b", "rate={"], "is not YAML"),
    ],
)
def test_what_cannot_be_is_told_without_a_file_name(faults, words, said):
    with pytest.raises(SquallError) as caught:
        fault_of(faults, words[0], words[1:])
    assert said in str(caught.value)
    assert "command line" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_fault_is_described(faults):
    for info in faults.values():
        name, summary, fields = describe(info).splitlines()
        assert name == info.name
        assert summary.strip() == info.summary
        assert fields.startswith("    fields: ")
    assert "latency=100ms, jitter=0s, direction=downstream (of upstream, downstream)" in describe(
        faults["latency"]
    )
    assert "from, to, use" in describe(faults["cut"])
    assert "edge=pop,hub" in describe(faults["origin_loss"])
