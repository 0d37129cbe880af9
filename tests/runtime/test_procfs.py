from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from harness.runtime import procfs

FAMILY = "sh -c 'sleep 60 & wait' & sleep 60 & wait"


@pytest.fixture
def family():
    """A shell with a child, and a child with a child; the names hold what /proc makes hard to read."""
    root = subprocess.Popen(["sh", "-c", FAMILY], start_new_session=True)
    until(lambda: len(procfs.tree(root.pid)) == 4)
    yield root
    for process in procfs.tree(root.pid):
        procfs.send(process.pid, signal.SIGKILL)
    root.wait(5)


def until(condition):
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_look_shows_parent_state_and_start():
    process = procfs.look(os.getpid())
    assert process.parent == os.getppid()
    assert process.state in "RS"
    assert procfs.alive(process.pid, process.start) is not None
    assert procfs.alive(process.pid, process.start - 1) is None


def test_a_zombie_is_seen_and_is_not_alive():
    child = subprocess.Popen(["true"])
    until(lambda: procfs.look(child.pid).gone)
    found = procfs.look(child.pid)
    assert procfs.alive(found.pid, found.start) is None
    child.wait(5)
    assert procfs.look(child.pid) is None


def test_a_name_with_parentheses_and_spaces(tmp_path):
    odd = tmp_path / "a) S 1 (b"
    odd.symlink_to("/bin/sleep")
    child = subprocess.Popen([odd, "60"])
    until(lambda: "(b" in Path(f"/proc/{child.pid}/comm").read_text())
    assert procfs.look(child.pid).parent == os.getpid()
    child.kill()
    child.wait(5)


def test_tree_has_parents_first(family):
    found = procfs.tree(family.pid)
    seen = {family.pid}
    for process in found[1:]:
        assert process.parent in seen
        seen.add(process.pid)


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_signals_reach_the_whole_tree(family, number):
    found = procfs.signal_tree(family.pid, number)
    assert len(found) == 4
    if number == signal.SIGSTOP:
        until(lambda: all(each.state in procfs.STOPPED for each in procfs.tree(family.pid)))
        procfs.signal_tree(family.pid, signal.SIGCONT)
        until(lambda: not any(each.state in procfs.STOPPED for each in procfs.tree(family.pid)))
    else:
        until(lambda: not [each for each in found if procfs.alive(each.pid, each.start)])


def test_a_process_that_is_gone_is_no_trouble():
    child = subprocess.Popen(["true"])
    child.wait(5)
    assert procfs.tree(child.pid) == []
    assert procfs.signal_tree(child.pid, signal.SIGKILL) == []
    procfs.send(child.pid, signal.SIGKILL)


def test_cpu_time_is_that_of_all_threads():
    burnt, done = threading.Event(), threading.Event()

    def burn():
        end = time.thread_time() + 0.05
        while time.thread_time() < end:
            pass
        burnt.set()
        done.wait(10)

    before = procfs.cpu(os.getpid())
    thread = threading.Thread(target=burn)
    thread.start()
    assert burnt.wait(10)
    used = procfs.cpu(os.getpid()) - before
    done.set()
    thread.join()
    assert 40_000_000 <= used < 10_000_000_000
    assert procfs.cpu(2**22 + 1) == 0
