"""Memory of a PoP's processes, all together, before and after it has loaded many flags, by its number of workers.

The memory is each process's proportional share (PSS), so pages that several have count once. `data` is the definitions
as JSON. The PoP begins with no flags and follows a stream, which then brings a snapshot of all of them; each worker then
evaluates some, so that what is shared is in use everywhere.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import psutil

from benchmarks import _common
from harness.probes.write import made_up
from harness.runtime import procfs
from reference_impl.propagation.fanout import FanOut
from reference_impl.propagation.settings import FanOutSettings
from reference_impl.propagation.store import Store
from reference_impl.propagation.types import FlagState, OrgState, Snapshot
from reference_impl.web import Site, stream_handler

HOST = "127.66.66.1"
WITHIN = 60.0  # s to begin, and to load
MIB = 2**20
USED = 50  # evaluations in all, each on a connection of its own


class Upstream:
    """A stream that a PoP can follow."""

    def __init__(self) -> None:
        self.store = Store()
        self.site = Site(dict, lambda: None)
        self.site.get("/stream", stream_handler(FanOut(self.store, FanOutSettings())))

    def load(self, seq: int, flags: dict[str, FlagState]) -> None:
        self.store.replace(Snapshot(seq, {"default": OrgState(seq, flags)}))


def begin(workers: int, folder: Path, port: int, limit: int) -> subprocess.Popen[bytes]:
    file = folder / "pop.json"
    link = {"to": "up", "role": "stream", "host": "127.0.0.1", "port": port}
    settings = {"workers": workers, "store_limit": limit, "reconnect_spread": 0.05}
    node = {
        "name": "pop",
        "role": "pop",
        "listen": {"host": HOST, "port": 8080},
        "links": {"stream": [link]},
        "settings": settings,
    }
    file.write_text(json.dumps(node))
    program = [sys.executable, "-m", "reference_impl.main", str(file)]
    return subprocess.Popen(program, stdout=subprocess.DEVNULL)


def ask(key: str) -> dict[str, object]:
    connection = http.client.HTTPConnection(HOST, 8080, timeout=10)
    try:
        connection.request("POST", f"/ofrep/v1/evaluate/flags/{key}", b"{}")
        return json.loads(connection.getresponse().read())  # type: ignore[no-any-return]
    finally:
        connection.close()


def position() -> object:
    try:
        metadata = ask("fill-000000").get("metadata")
    except OSError as error:
        return repr(error)
    return metadata["version"] if isinstance(metadata, dict) else None


async def until(seq: int) -> None:
    deadline = time.monotonic() + WITHIN
    while (seen := await asyncio.to_thread(position)) != seq:
        if time.monotonic() > deadline:
            raise RuntimeError(f"not at log position {seq} after {WITHIN:g} s: {seen}")
        await asyncio.sleep(0.05)


async def memory(pid: int) -> float:
    """MiB of the process and its children, when it no longer changes."""
    last = 0.0
    while True:
        children = [child.pid for child in psutil.Process(pid).children(recursive=True)]
        now = sum(procfs.memory(each) or 0 for each in (pid, *children)) / MIB
        if abs(now - last) < 0.2:
            return now
        last = now
        await asyncio.sleep(0.5)


async def measure(workers: int, flags: dict[str, FlagState], limit: int) -> tuple[float, float]:
    upstream = Upstream()
    upstream.load(1, {"fill-000000": flags["fill-000000"]})
    await upstream.site.start("127.0.0.1", 0)
    with tempfile.TemporaryDirectory() as folder:
        pop = begin(workers, Path(folder), upstream.site.port, limit)
        try:
            await until(1)
            for _ in range(USED):
                await asyncio.to_thread(ask, "fill-000000")
            before = await memory(pop.pid)
            upstream.load(2, flags)  # sent as a snapshot: the changes in between are not known
            await until(2)
            for n in range(USED):
                await asyncio.to_thread(ask, f"fill-{n:06d}")
            return before, await memory(pop.pid)
        finally:
            pop.terminate()
            pop.wait(10)
            await upstream.site.stop()


def main(argv: list[str]) -> int:
    options = _common.parser("workers", __doc__)
    options.add_argument("--flags", type=int, default=20_000)
    options.add_argument("--size", type=int, default=1000, help="bytes of each definition")
    asked = options.parse_args(argv)
    count = 500 if asked.quick else asked.flags
    made = made_up(count, asked.size)
    data = sum(len(msgspec.json.encode(flag)) for flag in made.values()) / MIB
    flags = {key: FlagState(2, flag) for key, flag in made.items()}
    rounds = _common.rounds_of(asked, usual=3, quick=1)
    print(f"{count} flags, {data:.1f} MiB; {_common.machine()}")
    for workers in (2, 4) if asked.quick else (1, 2, 4, 8):
        pairs = [
            _common.run_loop(lambda: measure(workers, flags, 64 * MIB))  # noqa: B023 - run at once
            for _ in range(rounds)
        ]
        growth = [after - before for before, after in pairs]
        _common.show(
            f"{workers} workers",
            [
                _common.Figure("before", "MiB", [before for before, _ in pairs]),
                _common.Figure("growth", "MiB", growth),
                _common.Figure("copies", "of the data", [each / data for each in growth]),
            ],
        )
    return 0
