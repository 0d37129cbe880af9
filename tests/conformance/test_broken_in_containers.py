"""One platform for each requirement that is wrong in containers too: caught as it is when it runs as processes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.conformance.support import Case, named_by, run_case, selected
from tests.conformance.test_broken_platforms import CASES
from tests.runtime.containers.lab import needs_engine, parts

# BFD that waits for twenty packets: a hang and a lost interface are noticed after 600 ms.
SLOW_BFD = Case("slow-bfd", "E2", "e2-bgp", ("anycast.multiplier=20",), "reconvergence")
BY_NAME = {case.name: case for case in (*CASES, SLOW_BFD)}
# Those of a group begin together: the start of some twenty containers would show in a neighbour's timeline.
GROUPS = [
    ("no-failover", "opens-after-six"),
    ("polls-each-20-s", "drops-deltas"),
    ("jitter-of-half", "acknowledges-early"),
    ("keeps-a-dead-pop",),
    ("slow-bfd",),
    ("stale-worker",),
    ("promotes-unfenced",),
    ("dns-first",),
]
CHOSEN = [BY_NAME[name] for group in GROUPS for name in group]

pytestmark = [pytest.mark.docker, pytest.mark.e2e, needs_engine]


@pytest.fixture(scope="module")
def runs(request, tmp_path_factory):
    """Of each case the future of its group's runs, by case."""
    parts()  # so that the image is there before two want it at once
    wanted = selected(request, CHOSEN)
    outs = {case: tmp_path_factory.mktemp(case.name) for case in wanted}

    def together(group):
        with ThreadPoolExecutor(len(group)) as pool:
            begun = {
                case: pool.submit(run_case, case, outs[case], "--runtime", "docker")
                for case in group
            }
            return {case: run.result() for case, run in begun.items()}

    groups = [[case for case in wanted if case.name in names] for names in GROUPS]
    with ThreadPoolExecutor(1) as pool:
        futures = {tuple(group): pool.submit(together, group) for group in groups if group}
        yield {case: future for group, future in futures.items() for case in group}


# What containers do differently is networks, kills and pauses: a platform for each kind of cluster is enough beyond these.
WANTED = {"D1", "D3", "E1", "E2", "M2", "P1", "P2", "P3", "S1", "S2"}


def test_every_requirement_has_one():
    assert {case.requirement for case in CHOSEN} == WANTED


@pytest.mark.parametrize("case", CHOSEN, ids=lambda case: case.name)
def test_a_broken_promise_is_named(runs, case):
    named_by(runs[case].result()[case], case)
