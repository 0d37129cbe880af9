from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from harness.errors import RuntimeFailure
from harness.history import Probe, ProbeEnd, Processes
from harness.probes import ProcessesProbe
from harness.probes.processes import look
from harness.runtime.base import NodeProcess
from tests.probes.probe_support import site_for


def recorded(look_at, looks):
    async def run():
        site, log = site_for(1)
        seen = asyncio.Event()

        async def counted(node):
            if len(log.of(Processes)) >= looks - 1:
                seen.set()
            return await look_at(node)

        site = replace(site, look=counted)
        stop = asyncio.Event()
        probe = ProcessesProbe(node="pop-1", interval=0.01)
        task = asyncio.create_task(probe.run(site, stop))
        await asyncio.wait_for(seen.wait(), 8)
        stop.set()
        await asyncio.wait_for(task, 8)
        return log

    return asyncio.run(run())


def test_what_is_seen_is_recorded():
    async def looked(node):
        assert node == "pop-1"
        return (NodeProcess(7, 1, "lead", 1000), NodeProcess(8, 1, "worker-0", None))

    log = recorded(looked, 3)
    (start,), (end,) = log.of(Probe), log.of(ProbeEnd)
    assert (start.kind, start.target, start.interval) == ("processes", "pop-1", 10_000_000)
    looks = log.of(Processes)
    assert end.sent == len(looks) >= 3
    assert (looks[0].pids, looks[0].names) == ([7, 8], ["lead", "worker-0"])
    assert looks[0].memory == [1000, -1]  # the second could not be read


def test_what_can_not_be_seen_is_said():
    async def looked(node):
        raise RuntimeFailure(f"{node} is elsewhere")

    assert recorded(looked, 1).of(Processes)[0].error == "pop-1 is elsewhere"


def test_without_a_cluster_nothing_is_seen():
    site, _ = site_for(1)
    assert "no cluster" in asyncio.run(look(site, "pop-1")).error


@pytest.mark.parametrize("wrong", [{"node": ""}, {"node": "x", "interval": 0}])
def test_what_is_wrong_is_said(wrong):
    with pytest.raises(ValueError, match="node|interval"):
        ProcessesProbe(**wrong)
