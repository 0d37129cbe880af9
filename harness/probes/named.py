"""A client that finds the platform by a name, as users do: it keeps each answer for its TTL, and not a moment longer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from harness.history import Event, Resolved
from harness.network.dns import INVALID, Answer, DnsFailure, ask
from harness.probes.http import TIMEOUT, UNRESOLVED, Client, HttpFailure
from harness.runtime.base import Address
from harness.topology import NamedEndpoint
from harness.units import NS, now_ns, to_ns

if TYPE_CHECKING:
    from harness.probes.http import Response


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks, and where: `servers` by node, most preferred first; `candidates`: node by address, all that may be dialled.

    `record` takes each resolution, in the history's time since `origin_ns`.
    """

    probe: str
    endpoint: NamedEndpoint
    servers: Mapping[str, Address]
    candidates: Mapping[str, str]
    port: int  # of the candidates
    source: str
    record: Callable[[Event], None]
    origin_ns: int


class Names:
    """What one client knows of one name. Where several of its requests need to know, one asks for all."""

    def __init__(self, asker: Asker) -> None:
        self._asker = asker
        self._servers = list(asker.servers)  # one that failed goes to the end
        self._addresses: tuple[str, ...] = ()
        self._until = 0  # ns, monotonic: what is known is used until then
        self._expires = 0  # the same for the TTL itself
        self._asking: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        left = (self._until - now_ns()) / NS
        known = ", ".join(self._addresses) or "nothing"
        return f"<Names {self._asker.endpoint.name}: {known} for {max(0.0, left):.3f} s>"

    async def addresses(self, within: float) -> tuple[str, ...]:
        """The name's addresses, most preferred first, in at most `within` s. Raises HttpFailure where there are none."""
        if now_ns() >= self._until:
            if self._asking is None or self._asking.done():
                self._asking = asyncio.create_task(self._ask())
            asking = self._asking
            done, _ = await asyncio.wait({asking}, timeout=within)
            if not done:
                raise HttpFailure(TIMEOUT, sent=False)
            asking.result()
        if not self._addresses:
            raise HttpFailure(UNRESOLVED, sent=False)
        return self._addresses

    async def close(self) -> None:
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait({self._asking})

    async def _ask(self) -> None:
        endpoint, began, error = self._asker.endpoint, now_ns(), ""
        for server in tuple(self._servers):
            try:
                answer = await ask(
                    self._asker.servers[server],
                    endpoint.name,
                    source=self._asker.source,
                    timeout=endpoint.timeout,
                )
            except DnsFailure as failure:
                error = failure.error
                self._servers.append(self._servers.pop(0))
            else:
                self._take(answer, server, began)
                return
        self._keep(error, began)

    def _take(self, answer: Answer, server: str, began: int) -> None:
        now = now_ns()
        usable = tuple(one for one in answer.addresses if one in self._asker.candidates)
        self._addresses = usable
        self._until = self._expires = now + to_ns(answer.ttl)
        error = answer.error or ("" if usable else INVALID)
        self._record(
            answer.addresses, now, began, ttl=to_ns(answer.ttl), server=server, error=error
        )

    def _keep(self, error: str, began: int) -> None:
        """No server answers: what was known is good for a while yet (RFC 8767, section 5)."""
        endpoint, now = self._asker.endpoint, now_ns()
        left = self._expires + to_ns(endpoint.stale) - now
        if not self._addresses or left <= 0:
            self._addresses = ()
            self._record((), now, began, error=error)
            return
        ttl = min(left, to_ns(endpoint.recheck))
        self._until = now + ttl
        self._record(self._addresses, now, began, ttl=ttl, error=error, stale=True)

    def _record(
        self,
        addresses: tuple[str, ...],
        now: int,
        began: int,
        *,
        ttl: int = 0,
        server: str = "",
        error: str = "",
        stale: bool = False,
    ) -> None:
        asker = self._asker
        asker.record(
            Resolved(
                t=now - asker.origin_ns,
                asked=began - asker.origin_ns,
                probe=asker.probe,
                name=asker.endpoint.name,
                addresses=list(addresses),
                nodes=[asker.candidates.get(one, "") for one in addresses],
                ttl=ttl,
                server=server,
                error=error,
                stale=stale,
            )
        )


class NamedClient:
    """As `Client`, to wherever the name leads. A new address means new connections; what is under way is left to end.

    Where nobody takes a connection, the next request goes to the next of the name's addresses.
    """

    def __init__(self, asker: Asker) -> None:
        self._asker = asker
        self._names = Names(asker)
        self._clients: dict[str, Client] = {}
        self._known: tuple[str, ...] = ()
        self._turn = 0
        self._host = ""

    def __repr__(self) -> str:
        return f"<NamedClient {self._names!r} at {self._host or 'no address'}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def request(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        timeout: float = 1.0,  # noqa: ASYNC109 - as in `Client.request`
        fresh: bool = False,
    ) -> Response:
        """As `Client.request`; `timeout` is for finding the address too."""
        began = now_ns()
        client = self._client_for(await self._names.addresses(timeout))
        left = max(0.001, timeout - (now_ns() - began) / NS)
        try:
            return await client.request(
                method, path, headers=headers, body=body, timeout=left, fresh=fresh
            )
        except HttpFailure as failure:
            if not failure.sent and client.host == self._host:
                self._turn += 1
            raise

    async def close(self) -> None:
        """As `Client.close`."""
        await self._names.close()
        for client in self._clients.values():
            await client.close()

    def _client_for(self, addresses: tuple[str, ...]) -> Client:
        if addresses != self._known:
            self._known, self._turn = addresses, 0
        host = addresses[self._turn % len(addresses)]
        if host != self._host:
            if self._host:
                self._clients[self._host].drop_idle()
            self._host = host
        if host not in self._clients:
            asker = self._asker
            self._clients[host] = Client(
                host, asker.port, source=asker.source, name=asker.endpoint.name
            )
        return self._clients[host]
