"""Load by locust within a run: exact totals, and what becomes of locust when something is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conformance.support import ROOT, SHORTENED, UNKNOWN, Case, environment, run_case

SCENARIO = SHORTENED / "load-totals.yaml"
BEGUN_WITHIN = 150.0  # s; a cluster is brought up first, on a machine that may be busy
GONE_WITHIN = 10.0
ENDED_WITHIN = 120.0

pytestmark = pytest.mark.e2e


def locusts(out: Path) -> dict[int, str]:
    """The processes of that run's locust: pid to "master" or "worker"."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().decode().split("\0")
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue  # it has ended meanwhile
        if "harness.load.side" in words and str(out) in " ".join(words) and state != "Z":
            found[int(entry.name)] = words[words.index("harness.load.side") + 1]
    return found


def until(met, what, within):
    deadline = time.monotonic() + within
    while not (seen := met()):
        assert time.monotonic() < deadline, f"{what} within {within:g} s; last seen: {seen}"
        time.sleep(0.05)  # the condition is looked at each time
    return seen


def begin(out: Path) -> subprocess.Popen[str]:
    """A run, as soon as its locust has been answered; it goes on for a while."""
    longer = out / "load-totals.yaml"
    text = SCENARIO.read_text().replace("lasts: 6s", "lasts: 60s").replace("wait: 9s", "wait: 20s")
    longer.write_text(text.replace("../../../suites", str(ROOT / "suites")))
    run = subprocess.Popen(
        [sys.executable, "-m", "harness", "run", str(longer), "--out", str(out)],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: answered(out), "locust was not answered", BEGUN_WITHIN)
    except BaseException:
        run.kill()
        run.wait(10)
        raise
    return run


def answered(out: Path) -> bool:
    return any(b'"e":"load-second"' in path.read_bytes() for path in out.glob("*/*/history.jsonl"))


def test_what_two_worker_processes_sent_was_received_to_the_request(tmp_path):
    # A run that could not tell, because a request of the probe got no answer on a busy machine, is asked once more.
    ran = run_case(Case("load", "E3", "load-totals", (), ""), tmp_path)
    assert ran.code == 0, ran.output
    results = json.loads((ran.folder / "results.json").read_text())
    (row,) = results["scenarios"][0]["load"]
    (check,) = [c for r in results["requirements"] for c in r["checks"]]
    assert check["value"] == 0
    assert check["figures"]["locust_answered"] == row["requests"] > 500
    assert check["figures"]["other_probes"] > 50
    assert "Load by locust" in (ran.folder / "report.html").read_text()
    assert not locusts(tmp_path)


def test_with_a_worker_lost_nobody_knows(tmp_path):
    run = begin(tmp_path)
    try:
        workers = [pid for pid, role in locusts(tmp_path).items() if role == "worker"]
        assert len(workers) == 2
        os.kill(workers[0], signal.SIGKILL)
        assert run.wait(ENDED_WITHIN) == UNKNOWN
    finally:
        run.kill()
        run.wait(10)
    (check,) = [
        c
        for r in json.loads((tmp_path / "latest" / "results.json").read_text())["requirements"]
        for c in r["checks"]
    ]
    assert check["verdict"] == "unknown"
    assert "1 of 2 workers gave no last report" in check["reason"]


def test_sigkill_of_the_run_leaves_no_locust(tmp_path):
    run = begin(tmp_path)
    try:
        seen = locusts(tmp_path)
        assert sorted(seen.values()) == ["master", "worker", "worker"]
    finally:
        run.kill()
        run.wait(10)
    until(lambda: not locusts(tmp_path), "locust did not end", GONE_WITHIN)
