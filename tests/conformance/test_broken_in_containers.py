"""One platform for each requirement that is wrong in containers too: caught as it is when it runs as processes."""

from __future__ import annotations

import pytest

from tests.conformance.support import all_runs, named_by
from tests.conformance.test_broken_platforms import CASES
from tests.runtime.containers.lab import needs_engine, parts

SIDE_BY_SIDE = 2  # each starts some twenty containers, beside the other's timeline
CHOSEN = [
    next(case for case in CASES if case.name == name)
    for name in (
        "no-failover",
        "polls-each-20-s",
        "opens-after-six",
        "drops-deltas",
        "keeps-a-dead-pop",
        "jitter-of-half",
        "acknowledges-early",
    )
]

pytestmark = [pytest.mark.docker, pytest.mark.e2e, needs_engine]


@pytest.fixture(scope="module")
def runs(request, tmp_path_factory):
    parts()  # so that the image is there before two want it at once
    yield from all_runs(request, tmp_path_factory, CHOSEN, SIDE_BY_SIDE, "--runtime", "docker")


def test_every_requirement_has_one():
    assert {case.requirement for case in CHOSEN} == {case.requirement for case in CASES}


@pytest.mark.parametrize("case", CHOSEN, ids=lambda case: case.name)
def test_a_broken_promise_is_named(runs, case):
    named_by(runs[case].result(), case)
