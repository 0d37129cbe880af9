"""A fault that does nothing, or a probe that runs late, has shown nothing: unknown, exit code 2, never a pass.

The engine's workers are forked, so what is changed here is changed in them too.
"""

from __future__ import annotations

import json
import time

import pytest

from faults.crash import Crash
from harness import cli
from harness.probes import schedule
from tests.conformance.support import SHORT

pytestmark = pytest.mark.e2e


def verdicts(out):
    results = json.loads((out / "latest" / "results.json").read_text())
    d1 = next(r for r in results["requirements"] if r["id"] == "D1")
    return d1["verdict"], [check["reason"] for check in d1["checks"]]


def run(out):
    return cli.main(["run", str(SHORT), "--out", str(out)])


def test_the_short_scenario_passes_as_it_is(tmp_path):
    assert run(tmp_path) == 0
    assert verdicts(tmp_path)[0] == "pass"


def test_a_fault_that_does_nothing(tmp_path, monkeypatch, capfd):
    async def nothing(self, cluster):
        return None

    monkeypatch.setattr(Crash, "inject", nothing)
    assert run(tmp_path) == 2
    verdict, reasons = verdicts(tmp_path)
    assert verdict == "unknown"
    assert all("did not bite" in reason for reason in reasons), reasons
    assert "DID NOT BITE" in capfd.readouterr().out


def test_a_probe_that_runs_late(tmp_path, monkeypatch):
    fire = schedule.Schedule._fire_due

    def late(self):
        time.sleep(0.12)  # what a starved generator does: the whole loop stands still
        fire(self)

    monkeypatch.setattr(schedule.Schedule, "_fire_due", late)
    assert run(tmp_path) == 2
    verdict, reasons = verdicts(tmp_path)
    assert verdict == "unknown"
    assert any("later than the budget" in reason for reason in reasons), reasons


def test_a_probe_that_sends_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(schedule.Schedule, "_fire_due", lambda self: None)
    assert run(tmp_path) == 2
    assert verdicts(tmp_path)[0] == "unknown"
