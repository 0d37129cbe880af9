"""The Compose file is what the topology says; and a platform that was brought up from it can be broken and measured."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from harness.errors import SquallError
from harness.runtime.containers import layout as layouts
from harness.runtime.containers.compose import render
from harness.runtime.containers.engine import NODE, connect
from harness.runtime.session import find_kind
from harness.topology_yaml import load_topology, override
from tests.conformance.support import ROOT, environment
from tests.runtime.containers.lab import needs_engine, parts

TOPOLOGY = ROOT / "suites" / "topologies" / "three-regions.yaml"
COMPOSE = next(filter(shutil.which, ["docker-compose"]), "")

SCENARIO = f"""\
title: The nearest PoP of a platform that was brought up by others crashes
requirements: [E2]
topology: {TOPOLOGY}
lasts: 6s
flags: {{checkout: true}}
probes:
  - evaluate: {{name: europe, group: europe, rate: 50, keys: [checkout]}}
steps:
  - phase: baseline
  - wait: 2s
  - inject: {{crash: pop-eu}}
  - wait: 2s
  - heal: crash
  - until_level: {{level: HEALTHY, nodes: [pop-eu], within: 20s}}
  - wait: 1s
checks:
  - availability: {{requirement: E2, probe: europe, max_failed: 0}}
  - reconvergence: {{requirement: E2, probe: europe, nodes: [pop-eu], within: 2s}}
"""


@pytest.fixture(scope="module")
def document():
    return yaml.safe_load((ROOT / "compose.yaml").read_text())


def test_the_file_is_what_the_topology_says(monkeypatch):
    monkeypatch.chdir(ROOT)
    topology = load_topology(Path("suites/topologies/three-regions.yaml"))
    assert render(topology) == (ROOT / "compose.yaml").read_text()


def test_only_this_machine_reaches_what_is_published(document):
    ports = [port for each in document["services"].values() for port in each.get("ports", [])]
    assert len(ports) == 4
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_every_service_has_limits_and_no_rights(document):
    for name, service in document["services"].items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["mem_limit"] > 0, name
        assert service["pids_limit"] > 0, name
        assert "healthcheck" in service or name == "toxiproxy"


def test_every_link_has_its_proxy(document):
    topology = load_topology(TOPOLOGY)
    environment_ = document["services"]["toxiproxy"]["environment"]
    assert len(json.loads(environment_["FILE_0"])) == len(topology.links)


def test_nobody_else_claims_its_networks(document):
    subnets = [n["ipam"]["config"][0]["subnet"] for n in document["networks"].values()]
    block = layouts.COMPOSE_BLOCK
    assert all(layouts.IPv4Network(subnet).subnet_of(block) for subnet in subnets)


def test_what_compose_cannot_bring_up():
    bgp = load_topology(TOPOLOGY.with_name("three-regions-bgp.yaml"))
    with pytest.raises(SquallError, match="a router needs what a Compose file can't give it"):
        render(bgp)
    other = override(load_topology(TOPOLOGY), ["program=tests.broken.early_ack"])
    with pytest.raises(SquallError, match=r"'tests.broken.early_ack' is not in the image"):
        render(other)


@pytest.mark.docker
@needs_engine
def test_a_platform_that_is_not_up():
    with pytest.raises(SquallError, match="no container of db is up: `squall compose"):
        find_kind("compose").prepare([load_topology(TOPOLOGY)], print)


# ------------------------------------------------------------------------------------------------ one that is up


def compose(*words: str) -> None:
    done = subprocess.run(
        [COMPOSE, "-p", "squalltest", "-f", str(ROOT / "compose.yaml"), *words],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def platform():
    engine = connect()
    engine.tag(parts().image, "squall-node:latest")
    compose("up", "-d")
    yield engine
    compose("down", "-v")
    engine.close()


def squall(scenario: Path, out: Path, home: Path) -> subprocess.Popen[str]:
    argv = ["run", str(scenario), "--runtime", "compose", "--out", str(out), "-v"]
    return subprocess.Popen(
        [sys.executable, "-m", "harness", *argv],
        cwd=ROOT,
        env=environment(SQUALL_DIR=str(home)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def running(engine) -> set[str]:
    containers, _ = engine.labelled("squall.compose")
    return {c["Labels"][NODE] for c in containers if c["State"] == "running"}


@pytest.mark.docker
@pytest.mark.e2e
@needs_engine
@pytest.mark.skipif(not COMPOSE, reason="there is no docker-compose")
def test_it_is_broken_measured_and_left_as_it_was(platform, tmp_path, squall_home):
    scenario = tmp_path / "scenarios" / "borrowed.yaml"
    scenario.parent.mkdir()
    scenario.write_text(SCENARIO)
    before = running(platform)
    assert len(before) == 21
    run = squall(scenario, tmp_path / "out", squall_home / "compose")
    said, _ = run.communicate(timeout=120)
    assert run.returncode == 0, said
    assert running(platform) == before

    # Another platform than the one that is up is none that could be shown anything of.
    changed = override(load_topology(TOPOLOGY), ["pop.retry.jitter=0.5"])
    with pytest.raises(SquallError, match="pop-us was brought up with other settings"):
        find_kind("compose").prepare([changed], print)

    # A run that dies with a fault in force: the warden mends it, and removes nothing.
    run = squall(scenario, tmp_path / "out", squall_home / "compose")
    for line in run.stdout:
        if "crash bit" in line:
            break
    assert "pop-eu" not in running(platform)
    os.kill(run.pid, signal.SIGKILL)
    run.wait(10)
    run.stdout.close()
    deadline = time.monotonic() + 20
    while running(platform) != before and time.monotonic() < deadline:
        time.sleep(0.1)
    assert running(platform) == before
