"""Memory that is bounded: what it grows by, and when that shows something."""

import pytest
from build import Builder
from sound import SOUND

from harness.checkers.memory import Memory
from harness.verdict import Verdict

PASS, FAIL, UNKNOWN = Verdict.PASS, Verdict.FAIL, Verdict.UNKNOWN
CHECKER = SOUND["memory"]()[0]


def looked(before, after, filled=20, looks=5):
    b = Builder().phase(0, "before").phase(4, "loading").phase(6, "loaded")
    if filled:
        b.filled(5.0, filled)
    for n in range(looks):
        b.processes(n * 0.5 + 0.1, (1,), before)
        b.processes(6.1 + n * 0.5, (1,), after[n % len(after)])
    return b


def judged(b, checker=CHECKER):
    (finding,) = checker(b.history(10.0))
    return finding


@pytest.mark.parametrize(
    ("after", "verdict"),
    [
        ([36], PASS),
        ([36.1], FAIL),
        ([50], FAIL),
        ([20], PASS),
        ([34, 38, 38], UNKNOWN),  # which it is can't be told
        ([44, 48, 44], FAIL),
    ],
)
def test_growth_against_its_bound(after, verdict):
    found = judged(looked(30, after))
    assert found.verdict is verdict, found.reason


def test_growth_is_of_all_processes_together():
    b = Builder().phase(0, "before").phase(4, "loading").filled(5.0, 20).phase(6, "loaded")
    for n in range(5):
        b.processes(n * 0.5 + 0.1, (1,), 30)
        b.processes(6.1 + n * 0.5, (1, 2), [30, 7])
    found = judged(b)
    assert (found.verdict, found.value) == (FAIL, 7.0)


@pytest.mark.parametrize("filled", [0, 11.9])
def test_too_few_flags_show_nothing(filled):
    found = judged(looked(30, [31], filled=filled))
    assert found.verdict is UNKNOWN
    assert "is not 2 times the bound" in found.reason


def test_too_few_looks_show_nothing():
    assert judged(looked(30, [31], looks=2)).verdict is UNKNOWN


def test_a_look_that_failed_shows_nothing():
    b = looked(30, [31])
    b.processes(7.05, (), error="gone")
    assert judged(b).verdict is UNKNOWN


def test_memory_that_could_not_be_read_shows_nothing():
    b = looked(30, [31])
    b.processes(7.05, (1,), [-1 / 2**20])
    assert judged(b).verdict is UNKNOWN


def test_another_node_does_not_count():
    b = looked(30, [31])
    b.processes(7.05, (1,), 900, node="pop-b")
    assert judged(b).verdict is PASS


@pytest.mark.parametrize("wrong", [{"most": 0}, {"most": 5, "times": 1}])
def test_what_can_show_nothing_is_refused(wrong):
    with pytest.raises(ValueError, match="more than"):
        Memory(requirement="E6", node="n", baseline="a", phase="b", **wrong)
