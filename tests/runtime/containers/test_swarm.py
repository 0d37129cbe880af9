"""A stack on three engines, each in a network of its own: broken, measured and left as it was, from inside its networks."""

from __future__ import annotations

import functools
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.errors import MissingPartError
from harness.runtime.containers import machines, stack
from harness.runtime.containers.engine import NODE, Swarm, connect
from harness.topology_yaml import load_topology, override
from tests.conformance.support import ROOT, Ran, environment
from tests.runtime.containers.lab import needs_engine, parts

PATH = Path(__file__).with_name("three-machines.yaml")
IMAGE = "squall-node:latest"
ZONES = ("us-east-1a", "eu-west-1a", "ap-south-1a")
UP_WITHIN, DOWN_WITHIN = 240.0, 90.0  # s; beside whatever else the two cores do

SCENARIO = f"""\
title: The nearest PoP of a stack loses its network, and crashes
requirements: [E2]
topology: {PATH}
lasts: 20s
flags: {{checkout: true, counter: 0}}
probes:
  - write: {{name: writer, rate: 5, keys: [counter]}}
  - evaluate: {{name: europe, group: europe, rate: 50, keys: [checkout]}}
  - evaluate: {{name: americas, group: americas, rate: 10, keys: [checkout]}}
steps:
  - phase: baseline
  - wait: 2s
  - inject: {{disconnect: pop-eu, label: lost}}
  - wait: 6s
  - heal: lost
  - until_level: {{level: HEALTHY, nodes: [pop-eu], within: 30s}}
  - wait: 2s
  - inject: {{crash: pop-eu, label: crash}}
  - wait: 3s
  - heal: crash
  - until_level: {{level: HEALTHY, nodes: [pop-eu], within: 30s}}
  - wait: 2s
  - stop: {{probes: [writer]}}
  - phase: settled
  - wait: 1s
  - read_back: {{of: [writer]}}
checks:
  - durability: {{requirement: E2, writes: [writer], reads: settled, rpo: 0s}}
  - recovery: {{requirement: E2, probe: americas, fault: crash, rto: 5s}}
  - recovery: {{requirement: E2, probe: europe, fault: lost, rto: 3s}}
  - reconvergence: {{requirement: E2, probe: europe, fault: crash, nodes: [pop-eu], within: 3s}}
  - reconvergence: {{requirement: E2, probe: europe, fault: lost, nodes: [pop-eu], within: 3s}}
"""
# The network notices a PoP that is silent after 0.6 s; this one after twenty.
WRONG = ("anycast.health.failures=100",)


# ----------------------------------------------------------------------------------------------- without any engine


class Said:
    """An engine of a swarm, as far as it is asked who is in it."""

    def __init__(self, url: str, node: str, *, manager: bool = False) -> None:
        self.url = url
        self._swarm = Swarm(node, manager)

    def swarm(self) -> Swarm:
        return self._swarm

    def machines(self, label: str) -> dict[str, str]:
        assert label == "squall.machine"
        return {"n1": "m1", "n2": "m2"}


def test_every_engine_of_the_swarm_must_be_named():
    one, two = Said("unix:///1", "n1", manager=True), Said("unix:///2", "n2")
    assert machines.Fleet([two, one]).must_be_whole() == 2
    with pytest.raises(
        MissingPartError, match="^m2 is a machine of the swarm, and its engine is not"
    ):
        machines.Fleet([one]).must_be_whole()
    with pytest.raises(MissingPartError, match="no engine of unix:///2 is a manager"):
        machines.Fleet([two]).must_be_whole()
    with pytest.raises(MissingPartError, match="unix:///3 is no machine of a swarm"):
        machines.Fleet([one, Said("unix:///3", "")]).must_be_whole()


def test_engines_are_sockets_of_this_machine(monkeypatch, tmp_path):
    monkeypatch.setenv(machines.VARIABLE, f"tcp://127.0.0.1:1, unix://{tmp_path}/2")
    with pytest.raises(MissingPartError, match="SQUALL_ENGINES=tcp://127.0.0.1:1: an engine on an"):
        machines.reach()
    monkeypatch.setenv(machines.VARIABLE, f"unix://{tmp_path}/none.sock")
    with pytest.raises(MissingPartError, match="no container engine at unix://.*none.sock"):
        machines.reach()


def test_a_process_is_here_only_in_the_containers_own_group():
    """The number alone says nothing: this process has one too."""
    assert not machines._is_here(os.getpid(), "4f1d" * 16)
    assert not machines._is_here(2**22 + 1, "4f1d" * 16)


# --------------------------------------------------------------------------------------------- three engines, a stack


@functools.cache
def why_no_swarm() -> str:
    if os.geteuid() != 0:
        return "engines in networks of their own need root"
    for need in ("docker", "dockerd", "ip", "nsenter", "unshare"):
        if shutil.which(need, path=f"{os.environ['PATH']}:/usr/sbin") is None:
            return f"there is no {need}"
    vxlan = "unshare --net ip link add squall type vxlan id 1 dstport 4789"
    if subprocess.run(vxlan.split(), capture_output=True, timeout=10, check=False).returncode:
        return "this kernel has no VXLAN"
    return ""


needs_swarm = pytest.mark.skipif(bool(why_no_swarm()), reason=why_no_swarm() or "it can be made")


class Lab:
    """`image/make-swarm`, which ends when its standard input does: with this process, however that ends."""

    def __init__(self, room: Path) -> None:
        self._said = room / "said"
        self._process = subprocess.Popen(
            [ROOT / "image" / "make-swarm", "3", IMAGE],
            stdin=subprocess.PIPE,
            stdout=self._said.open("w"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.urls: list[str] = []

    def wait(self) -> None:
        deadline = time.monotonic() + UP_WITHIN
        while not (said := self._said.read_text()).endswith("ready\n"):
            assert self._process.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.1)
        self.urls = said.split("SQUALL_ENGINES=")[1].split()[0].split(",")

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(DOWN_WITHIN)

    def docker(self, *words: str) -> str:
        """At the manager."""
        done = subprocess.run(
            ["docker", "--host", self.urls[0], *words],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def deploy(self, file: Path, *changes: str) -> None:
        """Bring it up as the topology with these changes has it, and wait until each service has its newest task."""
        file.write_text(stack.render(override(load_topology(PATH), changes)))
        self.docker("stack", "deploy", "--resolve-image", "never", "-c", str(file), "squall")
        deadline = time.monotonic() + UP_WITHIN
        services = {"toxiproxy", *load_topology(PATH).nodes}
        while missing := services - self.current(file):
            assert time.monotonic() < deadline, f"{missing} not up; {self.docker('service', 'ls')}"
            time.sleep(0.2)

    def current(self, file: Path) -> set[str]:
        """Nodes that run with the settings of the file."""
        wanted = {
            name: service["labels"]["squall.settings"]
            for name, service in stack.yaml.safe_load(file.read_text())["services"].items()
        }
        return {
            each["Labels"][NODE]
            for each in self.containers()
            if each["State"] == "running"
            and each["Labels"]["squall.settings"] == wanted[each["Labels"][NODE]]
        }

    def containers(self):
        found = []
        for url in self.urls:
            engine = connect(url)
            found += engine.labelled(f"{stack.STACK}=three-machines")[0]
            engine.close()
        return found

    def running(self) -> dict[str, list[str]]:
        """Node to its addresses."""
        return {
            each["Labels"][NODE]: sorted(
                n["IPAddress"] for n in each["NetworkSettings"]["Networks"].values()
            )
            for each in self.containers()
            if each["State"] == "running" and each["Labels"][NODE] != stack.LEG_NODE
        }


@pytest.fixture(scope="module")
def swarm(tmp_path_factory):
    engine = connect()
    engine.tag(parts().image, IMAGE)
    engine.close()
    lab = Lab(tmp_path_factory.mktemp("swarm"))
    try:
        lab.wait()
        for number, zone in enumerate(ZONES, 1):
            lab.docker("node", "update", "--label-add", f"squall.zone.{zone}=yes", f"m{number}")
        yield lab
    finally:
        lab.close()


@pytest.fixture
def scenario(tmp_path):
    path = tmp_path / "scenarios" / "stack.yaml"
    path.parent.mkdir()
    path.write_text(SCENARIO)
    return path


def squall(lab: Lab, scenario: Path, out: Path, home: Path, *options: str, engines: int = 3):
    argv = ["run", str(scenario), "--runtime", "swarm", "--out", str(out), "-v", *options]
    return subprocess.Popen(
        [sys.executable, "-m", "harness", *argv],
        cwd=ROOT,
        env=environment(
            SQUALL_DIR=str(home / "swarm"), SQUALL_ENGINES=" ".join(lab.urls[:engines])
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ran(*args, **more) -> Ran:
    """One that could not tell, because this machine was too busy, is asked once more."""
    for last in (False, True):
        run = squall(*args, **more)
        said, _ = run.communicate(timeout=180)
        if run.returncode != 2 or last:
            break
    return Ran(run.returncode, said, args[2] / "latest")


def refusal(run) -> str:
    """Said in one line, before anything is done."""
    said, _ = run.communicate(timeout=60)
    assert run.returncode == 2, said
    assert said.count("\n") == 1, said
    return said


@pytest.mark.docker
@pytest.mark.e2e
@needs_engine
@needs_swarm
def test_a_stack_on_three_machines(swarm, scenario, tmp_path, squall_home):
    out, file = tmp_path / "out", tmp_path / "stack.yaml"
    swarm.deploy(file)
    before = swarm.running()
    assert len(before) == 11
    right = ran(swarm, scenario, out, squall_home)
    assert right.code == 0, right.output
    assert right.verdicts == {"E2": "pass"}
    assert swarm.running() == before  # the same containers at the same addresses

    # One engine is not named.
    said = refusal(squall(swarm, scenario, out, squall_home, engines=2))
    assert said.startswith("squall: m3 is a machine of the swarm, and its engine is not reached")

    # A run that dies with a node off its networks: the warden brings it back, at the machine that it is on.
    dying = squall(swarm, scenario, out, squall_home)
    for line in dying.stdout:
        if "lost bit" in line:
            break
    assert swarm.running() != before
    os.kill(dying.pid, signal.SIGKILL)
    dying.wait(10)
    dying.stdout.close()
    deadline = time.monotonic() + 30
    while swarm.running() != before and time.monotonic() < deadline:
        time.sleep(0.1)
    assert swarm.running() == before

    # A platform that is wrong is caught; only what is changed is deployed anew.
    swarm.deploy(file, *WRONG)
    kept = {node for node, addresses in swarm.running().items() if before[node] == addresses}
    assert kept == set(before) - {"anycast"}
    said = refusal(squall(swarm, scenario, out, squall_home))
    assert "anycast was brought up with other settings" in said
    options = [word for change in WRONG for word in ("--set", change)]
    wrong = ran(swarm, scenario, out, squall_home, *options)
    assert wrong.code == 1, wrong.output
    assert wrong.verdicts == {"E2": "fail"}
    assert "reconvergence" in wrong.reasons("fail")
