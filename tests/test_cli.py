from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness.cli import main
from harness.version import version
from tests.small import write_small

COMMANDS = (
    "run",
    "up",
    "status",
    "down",
    "fault",
    "heal",
    "lint",
    "report",
    "doctor",
    "requirements",
)
HEAVY = ("asyncio", "aiohttp", "yaml", "msgspec", "jinja2", "harness.commands", "harness.probes")


@pytest.fixture
def cli(capsys):
    """Runs one command in this process: (exit code, stdout, stderr)."""
    before = signal.getsignal(signal.SIGTERM)

    def call(*argv):
        try:
            code = main([str(word) for word in argv])
        except SystemExit as end:  # argparse's way
            code = end.code
        out, err = capsys.readouterr()
        return code, out, err

    yield call
    signal.signal(signal.SIGTERM, before)


def process(*argv, **environ):
    return subprocess.run(
        [sys.executable, "-m", "harness", *argv],
        capture_output=True,
        check=False,
        timeout=30,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environ},
    )


def one_line(err):
    assert err.startswith("squall: ")
    assert err.count("\n") == 1, err
    return err


# ------------------------------------------------------------------------------------------------ help and usage


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_helps(cli, command):
    code, out, err = cli(command, "--help")
    assert code == 0
    assert out.startswith(f"usage: squall {command} ")
    assert err == ""


def test_help_names_every_command_and_the_exit_codes(cli):
    code, out, _ = cli("--help")
    assert code == 0
    assert "exit codes: 0 all that was tried holds; 1 a promise was broken; 2" in out
    for command in COMMANDS:
        assert re.search(rf"^    {command}\b", out, re.MULTILINE)


def test_help_loads_nothing_heavy():
    code = f"""
import sys
from harness.cli import main
try:
    main(["--help"])
except SystemExit:
    pass
print([name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=False,
        text=True,
        timeout=30,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_version(cli):
    assert cli("--version") == (0, f"squall {version()}\n", "")


@pytest.mark.parametrize("argv", [[], ["fly"], ["run", "--jobs", "many"], ["up"], ["fault"]])
def test_wrong_usage_is_exit_code_2(cli, argv):
    code, out, err = cli(*argv)
    assert (code, out) == (2, "")
    assert err.startswith("usage: squall")


def test_a_reader_that_goes_away_is_no_traceback():
    running = subprocess.Popen(
        [sys.executable, "-m", "harness", "requirements"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUNBUFFERED": "1"},
    )
    running.stdout.close()
    assert running.wait(30) == 2
    assert running.stderr.read() == b""
    running.stderr.close()


def test_a_terminal_without_unicode_is_no_traceback():
    done = process("fault", "list", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"`latency` ? `jitter`" in done.stdout


# ------------------------------------------------------------------------------------------------------------ lint


def test_lint_of_right_files(cli, tmp_path):
    write_small(tmp_path)
    assert cli("lint", tmp_path) == (0, "2 files, 0 with errors\n", "")


def test_lint_tells_file_and_line_of_all_that_is_wrong(cli, tmp_path):
    path = write_small(tmp_path)
    topology = tmp_path / "topologies" / "small.yaml"
    other = path.with_name("other.yaml")
    other.write_text(path.read_text().replace("- heal: cut", "- heal: cutt"))
    topology_2 = topology.with_name("wrong.yaml")
    topology_2.write_text(topology.read_text().replace("to: api-1,", "to: api-9,"))
    code, out, _ = cli("lint", tmp_path)
    assert code == 2
    first, second, last = out.splitlines()
    assert first.startswith(f"{other}:12: heal: no fault labelled 'cutt' before this; did you mean")
    assert second.startswith(f"{topology_2}:12: link to unknown node 'api-9'; did you mean 'api-1'")
    assert last == "4 files, 2 with errors"


def test_lint_of_what_is_not_there(cli, tmp_path):
    code, _, err = cli("lint", tmp_path / "none")
    assert code == 2
    assert one_line(err) == f"squall: no such file or folder: {tmp_path / 'none'}\n"


# -------------------------------------------------------------------------------------------- run, before it runs


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["-r", "X9"], "unknown requirement 'X9'"),
        (["-r", "S2"], "none of 1 scenarios is asked for"),
        (["-k", "nothing-like-it"], "none of 1 scenarios is asked for"),
        (
            ["--runtime", "kubernetes"],
            "unknown runtime 'kubernetes' (known: compose, docker, process",
        ),
        (["--set", "popp.x=1"], "no role or node 'popp'; did you mean 'pop'?"),
        (["--set", "pop"], "'pop': write it as ROLE-OR-NODE.SETTING=VALUE"),
        (["--set", "program=no module"], "'no module' is not the name of a Python module"),
        (["--set", "pop.x={"], "'pop.x={': the value is not YAML"),
    ],
)
def test_run_says_what_is_wrong_before_anything_starts(cli, tmp_path, squall_home, options, said):
    path = write_small(tmp_path)
    code, out, err = cli("run", path, "--out", tmp_path / "out", *options)
    assert (code, out) == (2, "")
    assert said in one_line(err)
    assert not (tmp_path / "out").exists()


def test_run_of_a_wrong_file_tells_its_line(cli, tmp_path):
    path = write_small(tmp_path)
    path.write_text(path.read_text().replace("[P3]", "[P3, E99]"))
    code, _, err = cli("run", path, "--out", tmp_path / "out")
    assert code == 2
    assert one_line(err).startswith(f"squall: {path}:2: unknown requirement 'E99'")


def test_run_of_two_files_of_one_name(cli, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_small(tmp_path / name)
    code, _, err = cli("run", tmp_path)
    assert code == 2
    assert "two scenario files have the name 'small-cut'" in one_line(err)


def test_run_without_a_part_that_it_needs(cli, tmp_path, monkeypatch):
    monkeypatch.setenv("SQUALL_TOXIPROXY", str(tmp_path / "no-such-program"))
    code, _, err = cli("run", write_small(tmp_path), "--out", tmp_path / "out")
    assert code == 2
    assert "SQUALL_TOXIPROXY" in one_line(err)
    assert not (tmp_path / "out").exists()


# ------------------------------------------------------------------------------------------- report, requirements


def test_report_on_what_is_no_run_folder(cli, tmp_path):
    code, _, err = cli("report", tmp_path)
    assert code == 2
    assert one_line(err) == f"squall: {tmp_path}: not a run folder (no run.json in it)\n"
    (tmp_path / "run.json").write_text("{")
    code, _, err = cli("report", tmp_path)
    assert code == 2
    assert "run.json" in one_line(err)


def test_requirements(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "suites").mkdir()
    write_small(tmp_path / "suites")
    code, out, _ = cli("requirements")
    assert code == 0
    [shown] = [line for line in out.splitlines() if line.startswith("P3 ")]
    assert shown.endswith("[small-cut]")
    code, out, _ = cli("requirements", "P3")
    assert (code, out.splitlines()[-1]) == (0, "    suites: small-cut")
    code, _, err = cli("requirements", "Z9")
    assert code == 2
    assert "unknown requirement 'Z9'" in one_line(err)


def test_doctor_where_nothing_is_left(cli, squall_home):
    assert cli("doctor") == (0, "nothing was left behind\n", "")


def test_doctor_finds_and_cleans_what_a_killed_warden_left(cli, squall_home):
    room = Path(squall_home) / "wardens" / "run-0-0"
    room.mkdir(parents=True)
    code, out, _ = cli("doctor")
    assert code == 1
    assert f"{room}: state of a warden that has ended" in out
    assert cli("doctor", "--clean")[0] == 0
    assert not room.exists()
