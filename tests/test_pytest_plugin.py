"""Scenarios as pytest items: in a pytest of their own, with a cluster of four nodes for about three seconds each."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from importlib.metadata import entry_points

import pytest

from tests.small import write_small

CONFIGURATION = """\
[pytest]
addopts = --strict-markers --strict-config -p no:locust -p no:cacheprovider
markers = e2e: whole clusters
"""


@pytest.fixture
def run_pytest(tmp_path, squall_home):
    """Runs pytest in `tmp_path`: (exit code, stdout)."""
    (tmp_path / "pytest.ini").write_text(CONFIGURATION)
    if not any(point.name == "squall" for point in entry_points(group="pytest11")):
        (tmp_path / "conftest.py").write_text('pytest_plugins = ["harness.pytest_plugin"]\n')

    def run(*argv):
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *argv],
            cwd=tmp_path,
            capture_output=True,
            check=False,
            text=True,
            timeout=120,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTEST_ADDOPTS": ""},
        )
        return done.returncode, done.stdout + done.stderr

    return run


def judged(folder):
    """Verdicts by scenario, as the run folders below `folder`/out have them."""
    files = [json.loads(path.read_text()) for path in folder.glob("out/*/*/findings.json")]
    return {one["name"]: one for one in files}


def properties(path):
    """By test case: its outcome, and its properties' values by name."""
    found = {}
    for case in ET.parse(path).getroot().iter("testcase"):
        values = {}
        for one in case.iter("property"):
            values.setdefault(one.get("name"), []).append(one.get("value"))
        outcome = "failed" if case.find("failure") is not None else "passed"
        found[case.get("name")] = outcome, values
    return found


def test_scenarios_are_collected_from_folders_called_so(run_pytest, tmp_path):
    write_small(tmp_path, "one-cut")
    write_small(tmp_path, "two-cuts")
    code, out = run_pytest("--collect-only", "-q")
    assert code == 0
    assert out.splitlines()[:2] == [
        "scenarios/one-cut.yaml::one-cut",
        "scenarios/two-cuts.yaml::two-cuts",
    ]
    assert "small.yaml" not in out  # a topology is no scenario
    code, out = run_pytest("--collect-only", "-q", "-k", "two")
    assert code == 0
    assert re.findall(r"^scenarios/.*", out, re.MULTILINE) == ["scenarios/two-cuts.yaml::two-cuts"]
    assert "1/2 tests collected (1 deselected)" in out
    assert not (tmp_path / "out").exists()


def test_a_file_that_cannot_be_is_a_collection_error_with_its_line(run_pytest, tmp_path):
    path = write_small(tmp_path)
    path.write_text(path.read_text().replace("inject: {cut:", "inject: {cutt:"))
    code, out = run_pytest()
    assert code == 2
    assert f"{path}:10: unknown fault 'cutt'; did you mean 'cut'?" in out
    assert "Traceback" not in out


def test_requirement_is_a_known_marker_and_reaches_the_junit_file(run_pytest, tmp_path):
    (tmp_path / "test_own.py").write_text(
        "import pytest\n"
        "@pytest.mark.requirement('P2')\n"
        "@pytest.mark.requirement('E2')\n"
        "def test_marked(): pass\n"
        "def test_plain(): pass\n"
    )
    code, out = run_pytest("--junitxml=x.xml")
    assert code == 0, out
    cases = properties(tmp_path / "x.xml")
    assert cases["test_plain"] == ("passed", {})
    outcome, values = cases["test_marked"]
    assert (outcome, sorted(values["requirement"])) == ("passed", ["E2", "P2"])


@pytest.mark.e2e
def test_two_scenarios_side_by_side(run_pytest, tmp_path):
    """A test passes just when its scenario's verdict is "pass"; one promises what no platform keeps."""
    write_small(tmp_path, "kept")
    write_small(tmp_path, "broken", broken=True)
    code, out = run_pytest("-n", "2", "--junitxml=x.xml")
    assert code == 1, out
    verdicts, cases = judged(tmp_path), properties(tmp_path / "x.xml")
    assert set(verdicts) == set(cases) == {"kept", "broken"}
    for name, (outcome, values) in cases.items():
        findings = verdicts[name]["findings"]
        all_held = {one["verdict"] for one in findings} == {"pass"}
        assert (outcome == "passed") is all_held
        assert values["requirement"] == ["P3", "E2"][: 2 if name == "broken" else 1]
        assert values["P3.availability"] == [
            one["verdict"] for one in findings if one["requirement"] == "P3"
        ]
    assert cases["broken"][0] == "failed"
    assert re.search(r"E2 fail \[availability\] users in cut.* <= 0\.00", out)
    assert "Traceback" not in out


OWN_TEST = """\
import pytest
from harness.verdict import Verdict

@pytest.mark.requirement("P3")
def test_served_while_cut(squall):
    result = squall.run("scenarios/small-cut.yaml", set=["pop.patience=0.5"])
    assert result.name == "small-cut"
    assert not result.error, result.error
    assert {one.requirement for one in result.findings} == {"P3"}
    history = (squall.folder(result) / "history.jsonl").read_text()
    assert '"pop.patience=0.5"' in history
    assert result.verdict in set(Verdict)
"""


@pytest.mark.e2e
def test_the_fixture_runs_a_scenario(run_pytest, tmp_path):
    write_small(tmp_path)
    (tmp_path / "test_own.py").write_text(OWN_TEST)
    code, out = run_pytest("test_own.py", "--squall-out", "elsewhere")
    assert code == 0, out
    assert "1 passed" in out
    assert len(list(tmp_path.glob("elsewhere/*/small-cut/findings.json"))) == 1
