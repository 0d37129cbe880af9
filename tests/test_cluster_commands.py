"""`squall up`, `status`, `fault`, `heal` and `down` on real processes: the toy program, two nodes and a link."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.cli import main
from harness.fault import Undo
from harness.runtime import doctor, persistent
from tests.small import write_small

pytestmark = pytest.mark.e2e

TOPOLOGY = """\
name: toys
program: tests.runtime.toy
regions: {r: [z]}
nodes:
  a: {role: toy, zone: z}
  b: {role: toy, zone: z}
links:
  - {from: a, to: b, as: peer}
clients: {users: r}
endpoints: {evaluate: a, write: b}
"""


@pytest.fixture
def cli(squall_home, capsys):
    """Runs one command in this process: (exit code, stdout, stderr). Afterwards nothing may be left."""
    before = signal.getsignal(signal.SIGTERM)

    def call(*argv):
        code = main([str(word) for word in argv])
        out, err = capsys.readouterr()
        return code, out, err

    yield call
    for name in persistent.list_clusters():
        asyncio.run(persistent.down(name))
    signal.signal(signal.SIGTERM, before)
    assert doctor.find_leftovers() == []
    assert rooms_of_clusters(squall_home) == []


def rooms_of_clusters(home):
    """Those of `squall up`; the wardens that other tests of this session share have rooms there too."""
    return list((home / "wardens").glob("up-*"))


@pytest.fixture
def toys(tmp_path):
    path = tmp_path / "toys.yaml"
    path.write_text(TOPOLOGY)
    return path


@pytest.fixture
def toys_up(cli, toys):
    assert cli("up", toys)[0] == 0


def row(out, node):
    [line] = [line for line in out.splitlines() if line.startswith(f"{node} ")]
    return line.split()


def one_line(err):
    assert err.startswith("squall: ")
    assert err.count("\n") == 1, err
    return err


# ------------------------------------------------------------------------------------------------ up, status, down


def test_from_up_to_down(cli, toys):
    code, out, err = cli("up", toys, "--name", "play")
    assert (code, err) == (0, "")
    assert out.startswith("starting play: 2 nodes, 1 links\nready in ")
    address = row(out, "a")[3]
    assert row(out, "a") == ["a", "toy", "z", address]
    assert f"curl -s -X POST http://{address}/ofrep/v1/evaluate/flags/my-flag" in out
    assert f"curl -s -X PUT http://{row(out, 'b')[3]}/v1/orgs/default/flags/my-flag" in out
    assert re.search(r"^as users +the same, with --interface 127\.", out, re.MULTILINE)
    assert re.search(r"^end +squall down play$", out, re.MULTILINE)
    [logs] = re.findall(r"^logs +(\S+)/NODE.log$", out, re.MULTILINE)
    assert "toy: a serves" in (Path(logs) / "a.log").read_text()

    code, out, _ = cli("status")
    assert code == 0
    assert out.startswith(f"play ({toys}): 2 nodes\n")
    # The toy's answer is no status.
    assert row(out, "a") == ["a", "toy", "running", address, "(invalid)", "-", "-"]
    assert out.endswith("no fault is in force\n")

    code, out, err = cli("up", toys, "--name", "play")
    assert (code, out) == (2, "")
    assert one_line(err) == "squall: 'play' is up already; 'squall down play' ends it\n"

    assert cli("down") == (0, "play has ended; nothing of it is left\n", "")
    code, out, err = cli("status")
    assert (code, out, err) == (0, "no cluster is up; `squall up TOPOLOGY` starts one\n", "")


def test_a_platform_tells_of_itself(cli, tmp_path):
    write_small(tmp_path)
    code, out, _ = cli("up", tmp_path / "topologies" / "small.yaml")
    assert code == 0
    assert "not HEALTHY" not in out
    code, out, _ = cli("status", "small")
    assert code == 0
    assert row(out, "pop-1")[4:] == ["HEALTHY", "0", "stream-1"]
    assert row(out, "db")[4:] == ["-", "-", "-"]
    assert cli("fault", "hang", "db")[0] == 0
    code, out, _ = cli("status")
    assert row(out, "db")[2] == "paused"
    assert cli("down", "small")[0] == 0


@pytest.mark.parametrize("argv", [["down"], ["heal"], ["fault", "crash", "a"]])
def test_without_a_cluster(cli, argv):
    code, out, err = cli(*argv)
    assert (code, out) == (2, "")
    assert one_line(err) == "squall: no cluster is up; `squall up TOPOLOGY` starts one\n"


def test_which_of_two_must_be_said(cli, toys):
    assert cli("up", toys)[0] == 0
    assert cli("up", toys, "--name", "more-toys")[0] == 0
    for argv in (["down"], ["heal"], ["fault", "crash", "a"]):
        code, _, err = cli(*argv)
        assert code == 2
        assert one_line(err) == "squall: 2 clusters are up, say which: more-toys, toys\n"
    code, out, _ = cli("status")
    assert code == 0
    assert out.count("2 nodes") == 2
    code, out, _ = cli("status", "toys")
    assert (code, out.count("2 nodes")) == (0, 1)
    code, _, err = cli("status", "toy")
    assert code == 2
    assert "no cluster 'toy' is up; did you mean 'toys'?" in one_line(err)
    assert cli("heal", "--cluster", "toys") == (0, "no fault is in force on toys\n", "")
    assert cli("down", "more-toys")[0] == 0
    assert persistent.list_clusters() == ["toys"]


def test_a_topology_that_cannot_be(cli, toys):
    toys.write_text(TOPOLOGY.replace("to: b", "to: c"))
    code, out, err = cli("up", toys)
    assert (code, out) == (2, "")
    assert one_line(err).startswith(f"squall: {toys}:8: link to unknown node 'c'")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--set", "toi.x=1"], "no role or node 'toi'; did you mean 'toy'?"),
        (["--set", "program=no.such.module"], "the program 'no.such.module' can't be imported"),
        (["--name", "No!"], "'No!' can't be the name of a cluster"),
    ],
)
def test_options_that_cannot_be(cli, toys, options, said):
    code, _, err = cli("up", toys, *options)
    assert code == 2
    assert said in one_line(err)


def test_a_part_that_is_missing(cli, toys, monkeypatch, tmp_path):
    monkeypatch.setenv("SQUALL_TOXIPROXY", str(tmp_path / "no-such-program"))
    code, out, err = cli("up", toys)
    assert (code, out) == (2, "")
    assert "SQUALL_TOXIPROXY" in one_line(err)


def test_a_node_that_does_not_start_leaves_nothing_and_the_name_free(cli, toys, squall_home):
    code, _, err = cli("up", toys, "--set", "b.exit=3")
    assert code == 2
    assert "b exited with 3" in err
    assert rooms_of_clusters(squall_home) == []
    assert cli("up", toys)[0] == 0


# ------------------------------------------------------------------------------------------------ fault and heal


def test_faults_stay_until_they_are_healed(cli, toys_up):
    code, out, err = cli("fault", "crash", "b")
    assert (code, err) == (0, "")
    assert re.match(r"bit: b is exited, 127\S+: refused\nit stays until `squall heal`\n$", out)
    code, out, _ = cli("fault", "hang", "a")
    assert code == 0
    assert out.startswith("bit: a is paused")
    code, out, _ = cli("fault", "cut", "a->b")
    assert (code, out.splitlines()[0]) == (0, "bit: a->b: refused")

    code, out, _ = cli("status")
    assert code == 0
    assert row(out, "a")[2] == "paused"
    assert row(out, "a")[4] == "(timeout)"
    assert row(out, "b")[2] == "exited"
    assert row(out, "b")[4] == "(connection_refused)"
    assert out.splitlines()[-3:] == [
        "in force: a->b is cut",
        "in force: a is paused",
        "in force: b is down",
    ]

    code, out, err = cli("fault", "stop", "b")
    assert (code, out) == (2, "")
    assert one_line(err) == "squall: b is down already; `squall heal` first\n"

    code, out, err = cli("heal")
    assert (code, err) == (0, "")
    first, second, third = out.splitlines()
    assert first.startswith("healed (a->b is cut): a->b answered in ")
    assert second.startswith("healed (a is paused): a answered in ")
    assert third.startswith("healed (b is down): b answered in ")
    code, out, _ = cli("status")
    assert [row(out, node)[2] for node in "ab"] == ["running", "running"]
    assert out.endswith("no fault is in force\n")
    assert cli("heal") == (0, "no fault is in force on toys\n", "")


def test_a_toxic_stays_and_goes(cli, toys_up):
    code, out, _ = cli("fault", "latency", "a->b", "latency=300ms")
    assert code == 0
    assert "delay wanted 300 ms" in out
    _, out, _ = cli("status")
    assert out.endswith("in force: a->b has latency-downstream\n")
    code, out, _ = cli("heal")
    assert code == 0
    assert out.startswith("healed (a->b has latency-downstream): a->b answered in ")


def test_a_fault_for_some_time(cli, toys_up):
    began = time.monotonic()
    code, out, _ = cli("fault", "cut", "from=a", "to=b", "--for", "300ms")
    assert code == 0
    assert time.monotonic() - began >= 0.3
    bit, waits, healed = out.splitlines()
    assert bit == "bit: a->b: refused"
    assert waits == "healing in 0.3 s; Ctrl-C heals at once"
    assert healed.startswith("healed: a->b: answered in ")
    assert cli("status")[1].endswith("no fault is in force\n")


def test_what_is_over_by_itself_needs_no_healing(cli, toys_up):
    code, out, _ = cli("fault", "restart", "a")
    assert code == 0
    assert out.splitlines()[-1] == "it is over; there is nothing to heal"
    assert cli("heal") == (0, "no fault is in force on toys\n", "")


def test_faults_that_cannot_be(cli, toys_up):
    wrong = {
        "crsh a": "unknown fault 'crsh'; did you mean 'crash'?",
        "crash aa": "crash: no node is called 'aa'; did you mean 'a'? (known: a, b)",
        "cut a->c": "cut: no link is called 'a->c'; did you mean 'a->b'?",
        "crash": "crash: say which node",
        "crash a --for soon": "--for: 'soon' is not a duration",
        "crash a --cluster toy": "no cluster 'toy' is up; did you mean 'toys'?",
    }
    for words, said in wrong.items():
        code, out, err = cli("fault", *words.split())
        assert (code, out) == (2, ""), words
        assert said in one_line(err)
    assert cli("status")[1].endswith("no fault is in force\n")


def test_a_fault_that_does_not_bite_is_undone(cli, toys_up, monkeypatch):
    monkeypatch.setattr("faults._common.VERIFY_WITHIN", 0.0)
    monkeypatch.setattr("faults._common.HEAL_WITHIN", 0.0)
    assert cli("fault", "crash", "b")[0] == 0
    # Behind the link there is nobody who could be slow.
    code, out, _ = cli("fault", "latency", "a->b", "latency=200ms")
    assert code == 2
    first, second = out.splitlines()
    assert first.startswith("did NOT bite: a->b: ")
    assert second.startswith("did NOT heal: a->b: ")
    assert cli("status")[1].count("in force") == 1


def test_a_fault_that_cannot_be_injected_is_undone(cli, toys_up):
    assert cli("fault", "crash", "b")[0] == 0
    code, out, err = cli("fault", "hang", "b")
    assert (code, out) == (2, "hang b: undoing\n")
    assert "b has exited" in one_line(err)
    assert cli("status")[1].endswith("\nin force: b is down\n")


def test_heal_says_what_is_not_healed(cli, toys_up, monkeypatch):
    monkeypatch.setattr("harness.undos.HEAL_WITHIN", 0.2)

    async def record_what_cannot_be_undone():
        cluster = await persistent.attach("toys")
        # The node dies; but what the ledger has to say of it starts nothing.
        await cluster.record(Undo(action="resume", subject="b"), hold=True)
        await cluster.kill("b")
        await cluster.detach()

    asyncio.run(record_what_cannot_be_undone())
    _, out, _ = cli("status")
    assert out.endswith("in force: b is paused, as recorded, but no longer\n")
    code, out, _ = cli("heal")
    assert code == 2
    assert out == "NOT healed (b is paused): b refused\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_heals_at_once(cli, toys_up, number):
    running = subprocess.Popen(
        [sys.executable, "-m", "harness", "fault", "hang", "b", "--for", "10min"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert running.stdout.readline().startswith("bit: b is paused")
    assert running.stdout.readline() == "healing in 600 s; Ctrl-C heals at once\n"
    running.send_signal(number)
    assert running.stdout.readline().startswith("healed: b is running")
    assert running.wait(10) == 130
    running.stdout.close()
    assert cli("status")[1].endswith("no fault is in force\n")


def test_up_can_be_interrupted(cli, toys, squall_home):
    running = subprocess.Popen(
        [sys.executable, "-m", "harness", "up", str(toys)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert running.stdout.readline().startswith("starting toys")
    deadline = time.monotonic() + 20
    while not list((squall_home / "wardens").glob("up-toys/127.*")):
        assert time.monotonic() < deadline, list((squall_home / "wardens").iterdir())
        time.sleep(0.005)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=20)
    if running.returncode == 0:  # it was ready by then
        assert "ready in" in out
        assert persistent.list_clusters() == ["toys"]
    else:
        assert running.returncode == 130, err
        assert "Traceback" not in err
        assert rooms_of_clusters(squall_home) == []
