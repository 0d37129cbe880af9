"""The metronome itself: quiet on a machine that serves it, and telling when it was not."""

import asyncio
import os
import signal
import time

import psutil
import pytest

from harness.scenario.metronome import LEAST_NS, Metronome


@pytest.fixture
def metronome():
    made = Metronome()
    yield made
    made.close()


async def heard_by(metronome, act, enough):
    """What was recorded after `act`, until `enough` of it or 10 s."""
    origin, stalls = time.monotonic_ns(), []
    metronome.attach(stalls.append, origin)
    await act()
    deadline = time.monotonic() + 10
    while not enough(stalls) and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    metronome.detach()
    return stalls


def test_a_stop_is_told_with_its_length(metronome):
    child = psutil.Process(metronome._pid)

    async def freeze():
        child.suspend()
        await asyncio.sleep(0.3)
        child.resume()

    enough = lambda told: any(stall.lasted > 250e6 for stall in told)  # noqa: E731
    stalls = asyncio.run(heard_by(metronome, freeze, enough))
    longest = max(stalls, key=lambda s: s.lasted)
    assert longest.lasted > 250e6, stalls
    assert longest.t > longest.lasted - 20e6  # it began where we stopped it, not before
    assert all(s.lasted >= LEAST_NS for s in stalls)


def test_it_ends_with_its_parent():
    reader, writer = os.pipe()
    parent = os.fork()
    if parent == 0:
        inner = Metronome()
        os.write(writer, str(inner._pid).encode())
        signal.pause()
    child = int(os.read(reader, 16))
    assert psutil.pid_exists(child)
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    deadline = time.monotonic() + 10
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the metronome outlives its run"
        time.sleep(0.01)
