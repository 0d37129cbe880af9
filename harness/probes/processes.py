"""The processes of a node and their memory, looked at from outside."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.errors import RuntimeFailure
from harness.history import Probe as ProbeStart
from harness.history import ProbeEnd, Processes
from harness.units import Seconds, to_ns

if TYPE_CHECKING:
    from harness.probes.site import Site


@dataclass(frozen=True, slots=True)
class ProcessesProbe:
    """Looks at the processes of `node` each `interval` s. What can't be seen is recorded as that."""

    kind: ClassVar[str] = "processes"

    name: str = "processes"
    node: str = ""
    interval: Seconds = Seconds(0.5)

    def __post_init__(self) -> None:
        if not self.node:
            raise ValueError("node must name the node to look at")
        if self.interval <= 0:
            raise ValueError("interval must be more than 0")

    async def run(self, site: Site, stop: asyncio.Event) -> None:
        start = ProbeStart(
            t=site.now(),
            name=self.name,
            kind=self.kind,
            interval=to_ns(self.interval),
            target=self.node,
        )
        site.record(start)
        looks = 0
        while not stop.is_set():
            site.record(await look(site, self.node))
            looks += 1
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.interval):
                    await stop.wait()
        site.record(ProbeEnd(t=site.now(), name=self.name, sent=looks))


async def look(site: Site, node: str) -> Processes:
    """What is seen now; `t` is when the look was over."""
    if site.look is None:
        return Processes(t=site.now(), node=node, error="there is no cluster to look at")
    try:
        seen = await site.look(node)
    except RuntimeFailure as error:
        return Processes(t=site.now(), node=node, error=str(error))
    return Processes(
        t=site.now(),
        node=node,
        pids=[process.pid for process in seen],
        names=[process.name for process in seen],
        memory=[-1 if process.memory is None else process.memory for process in seen],
        cpu=[process.cpu for process in seen],
    )
