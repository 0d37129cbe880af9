"""A TCP front before several backends: accepts, picks a healthy one, and joins the two connections.

It knows nothing of what is said over them, so it never sends a request twice: when a backend's connection breaks,
the client's is closed too.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import msgspec

from reference_impl.balancer.health import HealthCheck, HealthSettings
from reference_impl.balancer.splice import Half
from reference_impl.config import NodeConfig, Upstream
from reference_impl.role import Env
from reference_impl.web import Site, Tasks

KEPT: Final = 1_000  # transitions
SUSPECT: Final = 0.1  # s; longer than its health check takes to know
BACKLOG: Final = 4096


class Transition(msgspec.Struct, frozen=True):
    """A backend turned. `n` counts from 1; `at` in ns of the monotonic clock. `reset`: connections that were cut."""

    n: int
    at: int
    backend: str
    from_: str = msgspec.field(name="from")
    to: str
    reason: str
    reset: int


class Backend:
    """One node behind the front. `halves`: the connections to it that are joined to a client's."""

    def __init__(
        self, upstream: Upstream, settings: HealthSettings, changed: Callable[[Backend, str], None]
    ) -> None:
        self.upstream = upstream
        self.halves: set[Half] = set()
        self.check = HealthCheck(upstream, settings, lambda reason: changed(self, reason))
        self.served = 0
        self.suspect_until = (
            0.0  # a connection broke there while an answer was due; the loop's clock, s
        )
        self.state = "unknown"  # as of its last transition

    def __repr__(self) -> str:
        return f"<Backend {self.upstream.to} {self.state} connections={len(self.halves)}>"

    @property
    def name(self) -> str:
        return self.upstream.to


# Which backends to try for a client's connection from this address and port, best first; always the same while nothing changes.
Flow = tuple[str, int]
Choice = Callable[[Flow], Iterable[Backend]]


class Front:
    """Listens at the node's address; `/health`, `/ready` and `/status` of its own are on the control port.

    Where no backend is healthy, a connection is accepted and closed.
    """

    def __init__(
        self,
        config: NodeConfig,
        env: Env,
        *,
        choose: Choice,
        health: HealthSettings,
        connect_timeout: float,
        control_port: int,
        reroute: bool = False,
        last_resort: bool = False,
    ) -> None:
        """`last_resort`: where no backend is healthy, one that answers at all will do.

        `reroute`: when a backend is back, clients who would rather be there are cut off from where they are.

        So do packets that follow a new route reach a node that knows nothing of their connection.
        """
        self.config = config
        self.env = env
        self.backends: Sequence[Backend] = [
            Backend(upstream, health, self._turned) for upstream in config.upstreams("backend")
        ]
        config.upstream("backend")  # a front without one is a mistake
        self.accepted = 0
        self.refused = 0
        self.transitions: deque[Transition] = deque(maxlen=KEPT)
        self._turns = 0
        self._choose = choose
        self._connect_timeout = connect_timeout
        self._control_port = control_port
        self._reroute = reroute
        self._last_resort = last_resort
        self._server: asyncio.Server | None = None
        self._clients: set[Half] = set()
        self._joining: set[asyncio.Task[None]] = set()
        self._tasks = Tasks()
        self.site = Site(self.status, self._unready)

    def __repr__(self) -> str:
        return f"<Front {self.config.name} {list(self.backends)} refused={self.refused}>"

    @property
    def port(self) -> int:
        """Where clients connect. Raises `RuntimeError` before `start`."""
        if self._server is None:
            raise RuntimeError("not started")
        return int(self._server.sockets[0].getsockname()[1])

    async def start(self) -> None:
        for backend in self.backends:
            self._tasks.start(backend.check.run, f"health of {backend.name}")
        listen = self.config.listen
        await self.site.start(listen.host, self._control_port)
        self._server = await asyncio.get_running_loop().create_server(
            lambda: Half(self._opened, self._clients.discard),
            listen.host,
            listen.port,
            backlog=BACKLOG,
        )

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        await self._tasks.stop()
        for task in list(self._joining):
            task.cancel()
        for half in list(self._clients):
            half.close()
        await self.site.stop()

    def status(self) -> dict[str, Any]:
        """What `GET /status` answers."""
        return {
            "node": self.config.name,
            "role": self.config.role,
            "boot": self.env.boot,
            "accepted": self.accepted,
            "refused": self.refused,
            "backends": [
                {
                    "node": backend.name,
                    "state": backend.state,
                    "connections": len(backend.halves),
                    "served": backend.served,
                }
                for backend in self.backends
            ],
            "transitions": list(self.transitions),
        }

    def _any_healthy(self) -> bool:
        return any(backend.check.healthy for backend in self.backends)

    def _unready(self) -> str | None:
        return None if self._any_healthy() else "no healthy backend"

    def _opened(self, client: Half) -> None:
        self.accepted += 1
        self._clients.add(client)
        task = asyncio.create_task(self._join(client))
        self._joining.add(task)
        task.add_done_callback(self._joining.discard)

    async def _join(self, client: Half) -> None:
        """Connect the client to the first of its backends that takes the connection; nothing was sent yet."""
        if client.transport is None:
            return
        source = client.transport.get_extra_info("peername")
        for backend in self._candidates(source):
            half = await self._connect(backend)
            if half is None:
                continue
            if client.transport is None:
                half.reset()
                return
            if backend in self._candidates(source):
                backend.served += 1
                client.join(half)
                return
            half.reset()  # it was withdrawn while we connected
        self.refused += 1
        client.close()

    def _candidates(self, source: Flow) -> list[Backend]:
        """As chosen, but one that has just broken a connection comes last: its health check may not know yet."""
        chosen = list(self._choose(source))
        usable = [backend for backend in chosen if backend.check.healthy]
        if not usable and self._last_resort:
            usable = [backend for backend in chosen if backend.check.alive]
        now = asyncio.get_running_loop().time()
        return sorted(usable, key=lambda backend: backend.suspect_until > now)

    def _suspect(self, backend: Backend) -> None:
        backend.suspect_until = asyncio.get_running_loop().time() + SUSPECT

    async def _connect(self, backend: Backend) -> Half | None:
        half = Half(backend.halves.add, backend.halves.discard, lambda: self._suspect(backend))
        upstream = backend.upstream
        try:
            async with asyncio.timeout(self._connect_timeout):
                await asyncio.get_running_loop().create_connection(
                    lambda: half, upstream.host, upstream.port
                )
        except OSError:  # refused, reset, or TimeoutError
            return None
        return half if half.transport is not None else None

    def _turned(self, backend: Backend, reason: str) -> None:
        """Note it; withdraw one that went down: its connections are reset, so that clients come again elsewhere."""
        if not backend.check.healthy:
            # Cut off from the last that answers at all, clients would only come again.
            kept = self._last_resort and backend.check.alive and not self._any_healthy()
            cut = [] if kept else list(backend.halves)
        else:
            cut = self._drawn_to(backend) if self._reroute else []
        for half in cut:
            if half.peer is not None:
                half.peer.reset()
            half.reset()
        self._turns += 1
        before, backend.state = backend.state, "up" if backend.check.healthy else "down"
        at = round(asyncio.get_running_loop().time() * 1e9)
        self.transitions.append(
            Transition(self._turns, at, backend.name, before, backend.state, reason, len(cut))
        )

    def _drawn_to(self, backend: Backend) -> list[Half]:
        """Connections to other backends whose clients have this one as a better choice."""
        drawn = []
        for other in self.backends:
            for half in other.halves:
                client = half.peer.transport if half.peer is not None else None
                if other is backend or client is None:
                    continue
                better = self._choose(client.get_extra_info("peername"))
                if next(one for one in better if one in (backend, other)) is backend:
                    drawn.append(half)
        return drawn
