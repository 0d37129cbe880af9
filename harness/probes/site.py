"""Where probes work: a cluster's plan, the target's way of asking, and the history they record to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from harness.errors import SquallError
from harness.history import Event
from harness.probes.http import Client
from harness.probes.named import Asker, NamedClient
from harness.probes.read import read_keys, written_keys
from harness.probes.status import ask_status
from harness.probes.write import Receipt, write_flags
from harness.runtime.base import Address, NodeProcess, Plan
from harness.target import Target
from harness.units import now_ns

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable

    from harness.history import Status
    from harness.topology import NamedEndpoint


Look = Callable[[str], Awaitable[tuple[NodeProcess, ...]]]


class Probe(Protocol):
    """Implement this with a frozen data class; its fields are what a scenario writes."""

    @property
    def name(self) -> str: ...

    async def run(self, site: Site, stop: asyncio.Event) -> None:
        """Measure until `stop`, then end within a few seconds.

        Raises what keeps it from measuring at all; what the platform does wrong is recorded, never raised.
        """


@dataclass(frozen=True, slots=True)
class Site:
    """`record` appends one event to the history; `origin_ns` is the monotonic clock at the history's t = 0."""

    plan: Plan
    target: Target
    record: Callable[[Event], None]
    origin_ns: int
    look: Look | None = None  # at the processes of a node, where there is a cluster to look at
    receipts: dict[str, list[Receipt]] = field(
        default_factory=dict
    )  # by write probe, what was acknowledged to it

    def now(self) -> int:
        """Nanoseconds since the origin."""
        return now_ns() - self.origin_ns

    def node(self, name: str) -> Address:
        """Where a node listens; SquallError when the topology has no such node."""
        try:
            return self.plan.node[name]
        except KeyError:
            known = ", ".join(sorted(self.plan.node))
            raise SquallError(f"no node '{name}' in the topology (nodes: {known})") from None

    def endpoint(self, use: str) -> str:
        """The node, or the name, that answers `use` ("evaluate", "write", "alerts"); SquallError where the platform has none."""
        found: str | NamedEndpoint | None = getattr(self.plan.topology.endpoints, use)
        if found is None:
            raise SquallError(f"topology {self.plan.topology.name} names no endpoint '{use}'")
        return found if isinstance(found, str) else found.name

    def source(self, group: str) -> str:
        """The source address of a client group; "" for no group."""
        if not group:
            return ""
        try:
            return self.plan.client[group]
        except KeyError:
            known = ", ".join(sorted(self.plan.client))
            raise SquallError(f"no client group '{group}' (groups: {known})") from None

    def client(self, node: str, group: str = "", *, keep_alive: bool = True) -> Client:
        """A new HTTP client to a node, from a client group's address. To be closed by the caller."""
        address, source = self.node(node), self.source(group)
        return Client(address.host, address.port, source=source, keep_alive=keep_alive)

    def entrance(
        self, door: str, group: str = "", *, probe: str, keep_alive: bool = True
    ) -> Client | NamedClient:
        """A new HTTP client to a node or an endpoint's name. How it finds what the name leads to is recorded as `probe`'s."""
        for named in self.plan.topology.endpoints.named:
            if named.name == door:
                return NamedClient(self._asker(named, group, probe))
        return self.client(door, group, keep_alive=keep_alive)

    def _asker(self, named: NamedEndpoint, group: str, probe: str) -> Asker:
        return Asker(
            probe=probe,
            endpoint=named,
            servers={name: Address(self.node(name).host, named.port) for name in named.dns},
            candidates={self.node(name).host: name for name in named.candidates},
            port=self.node(named.candidates[0]).port,
            source=self.source(group),
            record=self.record,
            origin_ns=self.origin_ns,
        )

    async def write_flags(
        self, flags: dict[str, Any], *, org: str = "default", within: float = 10.0
    ) -> int:
        """Set flags up; see `harness.probes.write.write_flags`."""
        return await write_flags(self, flags, org=org, within=within)

    async def read_back(self, probes: Iterable[Probe], *, within: float = 30.0) -> None:
        """Read once what the write probes among `probes` may have written; see `harness.probes.read.read_keys`."""
        await read_keys(self, written_keys(probes), within=within)

    async def status(self, node: str, within: float = 0.5) -> Status:
        """What a node says of itself now, or that it does not answer; not recorded. `within` in s."""
        async with self.client(node) as client:
            return await ask_status(self, client, node, within)
