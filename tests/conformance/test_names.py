"""Names end to end: clients go on without the first DNS server, and follow a record that is changed, within its TTL."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.conformance.support import ROOT, UNKNOWN, squall_run

pytestmark = pytest.mark.e2e

MOVED, LOSS = "names-moved", "names-dns-loss"
# What is wrong, and which checks say so; the others are not at fault.
CASES = {
    (MOVED, ""): set(),
    (LOSS, ""): set(),
    (MOVED, "program=tests.broken.stale_dns"): {"names", "status_field"},
    (MOVED, "program=tests.broken.ignores_ttl"): {"status_field"},
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two at a time. One that could not tell, on a machine that was too busy, is asked once more."""

    def run(case):
        scenario, setting = case
        path, options = ROOT / "tests" / "scenarios" / f"{scenario}.yaml", ()
        if setting:
            options = ("--set", setting)
        ran = squall_run(path, tmp_path_factory.mktemp(scenario), *options)
        if ran.code == UNKNOWN:
            ran = squall_run(path, tmp_path_factory.mktemp(scenario), *options)
        return ran

    with ThreadPoolExecutor(2) as pool:
        yield {case: pool.submit(run, case) for case in CASES}


@pytest.mark.parametrize("case", CASES, ids=lambda case: " ".join(case).strip())
def test_who_is_led_where(runs, case):
    ran, wrong = runs[case].result(), CASES[case]
    assert ran.code == (1 if wrong else 0), ran.output
    assert ran.verdicts == {"M3": "fail" if wrong else "pass"}
    assert {line.split()[0] for line in ran.reasons("fail").splitlines()} == wrong
