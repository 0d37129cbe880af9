"""Load by locust: closed-loop users beside the open-loop probes, whose own figures decide."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TYPE_CHECKING, ClassVar, Literal

from harness.errors import SquallError
from harness.history import LoadEnd, LoadSecond, ProbeEnd
from harness.history import Probe as ProbeStart
from harness.load.crew import Crew
from harness.load.job import Finished, Second
from harness.load.options import asked
from harness.load.shape import Shape
from harness.units import NS, Seconds

if TYPE_CHECKING:
    from pathlib import Path

    from harness.load.job import Job, Said
    from harness.probes.site import Site
    from harness.runtime.base import Plan

USES: dict[str, str] = {"evaluate": "evaluate", "bulk": "evaluate", "write": "write"}
ANY_RUN = "127.0.0.1"
END_WITHIN = 12.0  # s


@dataclass(frozen=True, slots=True)
class LoadProbe:
    """`users` of locust's, over `processes` worker processes, each making `rate` requests a second (0: as fast as the answers come).

    Asks the topology's endpoint, or a `node`, from the address of the client `groups` in turn (for a `shape` "spot", by its
    shares). It is started before the timeline, and sends from its begin until it is stopped or its shape is over.
    """

    kind: ClassVar[str] = "load"

    name: str
    what: Literal["evaluate", "bulk", "stream", "write"] = "evaluate"
    users: int = 10
    rate: float = 0.0
    processes: int = 2
    keys: tuple[str, ...] = ("squall-flag",)
    group: str = ""
    groups: tuple[str, ...] = ()
    node: str = ""
    org: str = "default"
    timeout: Seconds = Seconds(2.0)
    spawn: float = 100.0  # users started per second
    shape: Shape = field(default_factory=Shape)

    def __post_init__(self) -> None:
        if self.users < 1 or self.processes < 1 or self.rate < 0 or self.spawn <= 0:
            raise ValueError("users and processes must be at least 1, rate at least 0, spawn more")
        if not 0 < self.timeout <= 5:  # noqa: PLR2004 - s; a probe must end within a few seconds
            raise ValueError("timeout must be more than 0, and 5 s at most")
        if self.group and self.groups:
            raise ValueError("name one group, or groups, not both")
        if self.shape.group and self.shape.group not in self.groups:
            raise ValueError(f"the shape's group '{self.shape.group}' is none of its groups")

    async def prepare(self, site: Site, folder: Path) -> RunningLoad:
        """Start locust, so that the timeline does not wait for it."""
        job = self.job(site)
        crew = await Crew.start(job, folder, self.name, meeting_point(site.plan))
        return RunningLoad(self, site, job, crew)

    def job(self, site: Site) -> Job:
        """What locust is asked for, with addresses. Raises `SquallError` where the platform has no such door."""
        node = self.node or site.endpoint(USES.get(self.what, "evaluate"))
        if any(node == named.name for named in site.plan.topology.endpoints.named):
            raise SquallError(f"load {self.name}: {node} is a name; give the node to ask")
        groups = self.groups or ((self.group,) if self.group else ())
        return asked(
            self.what,
            site.target,
            host=site.node(node).url,
            keys=self.keys,
            org=self.org,
            rate=self.rate,
            users=self.users,
            spawn=self.spawn,
            workers=self.processes,
            timeout=float(self.timeout),
            sources={group: site.source(group) for group in groups},
            shape=self.shape,
        )

    async def run(self, site: Site, stop: asyncio.Event) -> None:  # noqa: ARG002 - as `Probe` has it
        raise SquallError(f"the load {self.name} was not prepared")


def meeting_point(plan: Plan) -> str:
    """Where locust's master and workers find each other, on a port that the kernel chooses: a loopback address, the run's own where it
    has any.
    """
    host = plan.toxiproxy.host
    return host if ip_address(host).is_loopback else ANY_RUN


class RunningLoad:
    """Locust, started for one probe. What becomes of it is in the history; nothing of it is the platform's fault."""

    def __init__(self, probe: LoadProbe, site: Site, job: Job, crew: Crew) -> None:
        self._probe = probe
        self._site = site
        self._job = job
        self._crew = crew
        self._sent = 0
        self._ended = False
        self._start = 0

    def __repr__(self) -> str:
        return f"<RunningLoad {self._probe.name} {self._crew!r}>"

    async def run(self, site: Site, stop: asyncio.Event) -> None:
        """As `Probe.run`."""
        probe = self._probe
        self._start = site.now()
        site.record(
            ProbeStart(
                t=self._start,
                name=probe.name,
                kind=probe.kind,
                target=self._job.host,
                group=",".join(self._job.sources),
            )
        )
        self._crew.go()
        listening = asyncio.create_task(self._listen())
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({listening, stopping}, return_when=asyncio.FIRST_COMPLETED)
            await self._finish(listening)
            await stopping
        finally:
            for task in (listening, stopping):
                task.cancel()
        site.record(ProbeEnd(t=site.now(), name=probe.name, sent=self._sent))

    async def _finish(self, listening: asyncio.Task[None]) -> None:
        if not listening.done():
            self._crew.stop()
            await asyncio.wait({listening}, timeout=END_WITHIN)
        if listening.done():
            listening.result()
        if not self._ended:
            late = await self._crew.dead() or f"it did not end within {END_WITHIN:g} s"
            self._end(error=f"locust was lost: {late}")

    async def _listen(self) -> None:
        async for said in self._crew.messages():
            self._heard(said)

    def _heard(self, said: Said) -> None:
        origin = self._site.origin_ns
        if isinstance(said, Second):
            self._site.record(
                LoadSecond(
                    t=(said.second + 1) * NS - origin,
                    probe=self._probe.name,
                    requests=said.requests,
                    failures=said.failures,
                    users=said.users,
                    p50=said.p50,
                    p95=said.p95,
                    p99=said.p99,
                    late=said.late,
                )
            )
        elif isinstance(said, Finished):
            missing = f"{said.missing} of {self._job.workers} workers gave no last report"
            self._sent = sum(total.requests for total in said.totals)
            self._start = said.first - origin
            self._end(said, error=missing if said.missing else "")

    def _end(self, said: Finished | None = None, *, error: str) -> None:
        self._ended = True
        self._site.record(
            LoadEnd(
                t=self._site.now() if said is None else said.last - self._site.origin_ns,
                probe=self._probe.name,
                start=self._start,
                totals=said.totals if said else [],
                error=error,
            )
        )

    async def close(self) -> None:
        await self._crew.close()
