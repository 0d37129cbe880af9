"""A run, and its report made again from a copy of its folder alone."""

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import subprocess
import sys

import pytest

from tests.small import write_small

pytestmark = pytest.mark.e2e


def squall(*argv, **more):
    return subprocess.run(
        [sys.executable, "-m", "harness", *map(str, argv)],
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        **more,
    )


@pytest.fixture(scope="module")
def ran(squall_home, tmp_path_factory):
    """The finished command and its run folder, moved away from where it was made; the scenario's files are gone."""
    made = tmp_path_factory.mktemp("made")
    write_small(made, broken=True)
    done = squall("run", made / "scenarios", "--out", made / "out", "-v")
    folder = shutil.copytree((made / "out" / "latest").resolve(), made.with_name("moved"))
    shutil.rmtree(made)
    return done, folder


def verdicts(folder):
    results = json.loads((folder / "results.json").read_text())
    checks = [
        (one["id"], one["verdict"], [(c["claim"], c["verdict"], c["value"]) for c in one["checks"]])
        for one in results["requirements"]
    ]
    return results["verdict"], results["exit_code"], checks


def test_a_run_shows_its_steps_and_breaks_the_promise_that_cannot_be_kept(ran):
    done, folder = ran
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stderr == ""
    for told in (
        "1 scenarios for 2 requirements",
        "phase cut",
        "fault cut bit",
        "fault cut healed",
    ):
        assert told in done.stdout
    for file in ("report.html", "results.json", "junit.xml", "report.md"):
        assert (folder / file).stat().st_size > 0
    by_id = {one[0]: one[1] for one in verdicts(folder)[2]}
    assert by_id["E2"] == "fail"


def test_what_is_no_terminal_gets_no_colours(ran):
    done, _ = ran
    assert "\x1b" not in done.stdout


def test_a_report_is_made_again_from_the_folder_alone(ran):
    done, folder = ran
    before = verdicts(folder)
    for made in ("report.html", "results.json", "junit.xml", "report.md"):
        (folder / made).unlink()
    [findings] = folder.glob("*/findings.json")
    findings.unlink()
    again = squall("report", folder, cwd=folder)
    assert again.returncode == done.returncode, again.stderr
    assert verdicts(folder) == before
    assert findings.exists()


def test_keep_findings_does_not_judge_again(ran):
    _, folder = ran
    before = verdicts(folder)
    [history] = folder.glob("*/history.jsonl")
    kept = history.read_bytes()
    # Without the answers a judge would have to say "unknown".
    lines = [line for line in kept.splitlines(keepends=True) if b'"complete"' not in line]
    assert len(lines) < kept.count(b"\n")
    history.write_bytes(b"".join(lines))
    try:
        assert squall("report", folder, "--keep-findings").returncode == 1
        assert verdicts(folder) == before
    finally:
        history.write_bytes(kept)


@pytest.mark.parametrize("plain", [False, True])
def test_colours_on_a_terminal_unless_no_color(ran, plain):
    _, folder = ran
    ours, theirs = pty.openpty()
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TERM": "xterm"}
    environ.pop("NO_COLOR", None)
    running = subprocess.Popen(
        [sys.executable, "-m", "harness", "report", "--keep-findings", str(folder)],
        stdout=theirs,
        env={**environ, "NO_COLOR": "1"} if plain else environ,
    )
    os.close(theirs)
    shown = b""
    try:
        while select.select([ours], [], [], 30)[0]:
            shown += os.read(ours, 65536)
    except OSError:  # the terminal's other end is closed
        pass
    os.close(ours)
    assert running.wait(30) == 1
    assert b"fail" in shown
    assert (b"\x1b[31m" in shown) is not plain
