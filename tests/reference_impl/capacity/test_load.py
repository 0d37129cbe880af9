"""Shares of CPU and memory, from usage that is told and from this very process."""

import asyncio
import time

from reference_impl.capacity.load import Gauge, OwnUsage, machine_memory
from tests.reference_impl.support import run_virtual


class Told:
    cpu_s, bytes_ = 0.0, 0

    def cpu(self):
        return self.cpu_s

    def memory(self):
        return self.bytes_


def test_shares_of_the_time_between_looks_and_of_the_limit():
    async def main():
        usage = Told()
        gauge = Gauge(1000, usage)
        usage.bytes_ = 600
        assert (gauge.figures(1).cpu, gauge.figures(1).memory) == (0.0, 0.6)
        usage.cpu_s, usage.bytes_ = 1.4, 900
        await asyncio.sleep(0.9)
        assert (gauge.figures(1).cpu, gauge.figures(1).memory) == (0.0, 0.6)  # too soon to tell
        await asyncio.sleep(1.1)
        assert (gauge.figures(1).cpu, gauge.figures(1).memory) == (0.7, 0.9)
        await asyncio.sleep(2)
        assert gauge.figures(1).cpu == 0.0

    run_virtual(main())


def test_what_is_asked_for_comes_with_it():
    async def main():
        told = Gauge(1000, Told()).figures(7, 3, 12.5)
        assert (told.connections, told.pops, told.latency_p99_ms) == (7, 3, 12.5)
        bare = Gauge(1000, Told()).figures(7)
        assert (bare.pops, bare.latency_p99_ms) == (None, None)

    run_virtual(main())


def test_this_process_itself():
    usage = OwnUsage()
    before = usage.memory()
    held = bytearray(b"x" * (64 << 20))
    assert usage.memory() - before > 48 << 20
    began = usage.cpu()
    end = time.process_time() + 0.05
    while time.process_time() < end:
        pass
    assert 0.05 <= usage.cpu() - began < 5
    assert len(held) < machine_memory()


def test_without_a_limit_it_is_the_machines():
    assert Gauge(0, Told()).limit == machine_memory()
    assert Gauge(5, Told()).limit == 5
