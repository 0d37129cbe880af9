"""SIGKILL of a run at any moment leaves no process and no state ten seconds later.

Proxies live in a process, and a claim of addresses in the warden's socket: both go with their process.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conformance.support import ROOT, SHORT, environment

MOMENTS = 20
SIDE_BY_SIDE = 4
LONGEST = 9.0  # s; start-up, timeline and judging of the short scenario
CLEAN_WITHIN = 10.0  # s

pytestmark = pytest.mark.e2e


def processes_of(home: Path) -> list[str]:
    """Every process that the run started: its environment names the squall folder, or it works in there."""
    mark = f"SQUALL_DIR={home}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            # Servers write their title over their environment; but they work in their data's folder.
            works_in = os.readlink(entry / "cwd")
            ours = works_in.startswith(str(home)) or mark in (entry / "environ").read_bytes()
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            if ours and state != "Z":
                found.append(f"{entry.name} {(entry / 'comm').read_text().strip()}")
        except OSError:
            continue  # it has ended meanwhile, or is a kernel thread
    return found


def rooms_of(home: Path) -> list[str]:
    return [str(path) for path in home.glob("wardens/*")] if home.exists() else []


def kill_at(moment: float, folder: Path) -> tuple[str, str]:
    """Start a run, kill it after `moment` s, and say what is left at the deadline."""
    home = folder / "home"
    run = subprocess.Popen(
        [sys.executable, "-m", "harness", "run", str(SHORT), "--out", str(folder / "out"), "-v"],
        cwd=ROOT,
        env=environment(SQUALL_DIR=str(home)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        run.wait(moment)
    except subprocess.TimeoutExpired:
        seen = len(processes_of(home))
        run.send_signal(signal.SIGKILL)
    else:
        seen = 0
    # Workers hold the same pipe, so reading to its end would wait for them: that is not ours to rely on.
    run.wait(10)
    run.stdout.close()
    deadline = time.monotonic() + CLEAN_WITHIN
    while (left := processes_of(home) + rooms_of(home)) and time.monotonic() < deadline:
        time.sleep(0.05)  # the condition is looked at each time
    return f"killed at {moment:.2f} s with {seen} processes", "; ".join(left)


@pytest.fixture
def lanes():
    """Folders with a squall home each, PostgreSQL's template in it: so a run is under way soon, and at the same pace.

    PostgreSQL's user must be able to enter them, and socket paths are short.
    """
    base = Path("/dev/shm") / f"squall-kill-{os.getpid()}"
    folders = [base / str(n) for n in range(SIDE_BY_SIDE)]
    try:
        for folder in folders:
            (folder / "home").mkdir(mode=0o755, parents=True)
        template = "from harness.runtime.servers import *; postgres_template(find_postgres())"
        env = environment(SQUALL_DIR=str(folders[0] / "home"))
        subprocess.run([sys.executable, "-c", template], cwd=ROOT, env=env, check=True, timeout=60)
        for folder in folders[1:]:
            copy = ["cp", "-a", str(folders[0] / "home" / "cache"), str(folder / "home")]
            subprocess.run(copy, check=True, timeout=30)
        yield folders
    finally:
        subprocess.run(["rm", "-rf", str(base)], check=True, timeout=30)


def test_sigkill_at_any_moment_leaves_nothing(lanes):
    chance = random.Random(os.environ.get("SQUALL_SEED", "kill"))
    moments = [chance.uniform(0.1, LONGEST) for _ in range(MOMENTS)]

    def lane(n: int) -> list[tuple[str, str]]:
        return [kill_at(moment, lanes[n]) for moment in moments[n::SIDE_BY_SIDE]]

    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        outcomes = [outcome for some in pool.map(lane, range(SIDE_BY_SIDE)) for outcome in some]
    left = [f"{when}: {what}" for when, what in outcomes if what]
    assert not left, "\n".join(left)
    # A test that kills only what has not begun, or is over, shows nothing.
    busy = [when for when, _ in outcomes if int(when.rpartition(" with ")[2].split()[0]) > 12]
    assert len(busy) >= MOMENTS // 3, [when for when, _ in outcomes]


def test_doctor_finds_nothing_afterwards(lanes):
    told, left = kill_at(3.0, lanes[0])
    assert not left, f"{told}: {left}"
    done = subprocess.run(
        [sys.executable, "-m", "harness", "doctor"],
        cwd=ROOT,
        env=environment(SQUALL_DIR=str(lanes[0] / "home")),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing was left behind" in done.stdout
