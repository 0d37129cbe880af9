"""Names for the platform's own nodes: over links with use "dns" (TCP), kept for their TTL, stale for a while (RFC 8767)."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import msgspec

from reference_impl.config import Positive, Upstream
from reference_impl.dns.server import PREFIX
from reference_impl.resilience.errors import INVALID, SERVICE_UNAVAILABLE, CallError, mapped

NO_NAME: Final = (
    "NO_NAME"  # of a CallError: a server says that there is no such name, or no address
)


class ResolverSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`timeout` in s for each server. Where none answers, what is known is used for `stale` s beyond its TTL, and servers
    are asked again after `recheck` s. Who asks meanwhile waits for `patience` s at most: the "client response timer" of RFC 8767.
    """

    timeout: Positive = 0.5
    stale: Annotated[float, msgspec.Meta(ge=0)] = 3600.0
    recheck: Positive = 1.0
    patience: Positive = 0.25


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server says; `ttl` in s. Without an address: there is none."""

    addresses: tuple[str, ...]
    ttl: float


# One question, with that id, to one server: raises `CallError`.
Exchange = Callable[[Upstream, str, int], Coroutine[Any, Any, Answer]]


async def over_tcp(server: Upstream, name: str, number: int) -> Answer:
    """An `Exchange` on a connection of its own. It has no timeout: the resolver sets one."""
    query = dns.message.make_query(name, dns.rdatatype.A, id=number)
    with mapped(f"name {name} at {server}"):
        reader, writer = await asyncio.open_connection(server.host, server.port)
        try:
            wire = query.to_wire()
            writer.write(len(wire).to_bytes(PREFIX) + wire)
            length = int.from_bytes(await reader.readexactly(PREFIX))
            wire = await reader.readexactly(length)
        finally:
            writer.transport.abort()
    return _read(query, wire)


def _read(query: dns.message.Message, wire: bytes) -> Answer:
    asked = query.question[0].name
    try:
        answer = dns.message.from_wire(wire)
    except (dns.exception.DNSException, ValueError) as error:
        raise CallError(INVALID, f"{asked}: {error}") from None
    if not query.is_response(answer) or answer.flags & dns.flags.TC:
        raise CallError(INVALID, f"{asked}: an answer to something else, or half of one")
    code = answer.rcode()
    if code not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        raise CallError(SERVICE_UNAVAILABLE, f"{asked}: {dns.rcode.to_text(code)}")
    for found in answer.answer:
        if found.name == asked and found.rdtype == dns.rdatatype.A:
            return Answer(tuple(item.address for item in found), float(found.ttl))
    return Answer((), 0.0)


@dataclass(slots=True)
class _Known:
    """`until`: it is used without a question; `expires`: the end of its TTL. The loop's time, s."""

    addresses: tuple[str, ...]
    until: float
    expires: float


class Resolver:
    """The names that one node knows. Callers that need the same name share one question."""

    def __init__(
        self,
        servers: Sequence[Upstream],
        settings: ResolverSettings,
        chance: random.Random,
        exchange: Exchange = over_tcp,
    ) -> None:
        self.asked = 0  # questions to servers
        self._servers = list(servers)  # one that failed goes to the end
        self._settings = settings
        self._chance = chance
        self._exchange = exchange
        self._known: dict[str, _Known] = {}
        self._asking: dict[str, asyncio.Task[tuple[str, ...]]] = {}

    def __repr__(self) -> str:
        return f"<Resolver names={sorted(self._known)} asked={self.asked}>"

    async def resolve(self, name: str) -> tuple[str, ...]:
        """The addresses, most preferred first. Raises `CallError` where there are none, or nobody can say."""
        known = self._known.get(name)
        if known is not None and asyncio.get_running_loop().time() < known.until:
            return known.addresses
        if name not in self._asking:
            task = asyncio.create_task(self._ask(name), name=f"name {name}")
            task.add_done_callback(lambda done: self._asked(name, done))
            self._asking[name] = task
        # One caller that gives up must not take the answer from the others.
        asking = self._asking[name]
        if (
            known is None
            or asyncio.get_running_loop().time() >= known.expires + self._settings.stale
        ):
            return await asyncio.shield(asking)
        done, _ = await asyncio.wait({asking}, timeout=self._settings.patience)
        return asking.result() if done else known.addresses

    async def close(self) -> None:
        """Idempotent."""
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def lifetime(self, answer: Answer) -> float:
        """How long an answer is used, s; a variant of the platform replaces this."""
        return answer.ttl

    def _asked(self, name: str, done: asyncio.Task[tuple[str, ...]]) -> None:
        del self._asking[name]
        if not done.cancelled():
            done.exception()  # seen, also where every caller has given up

    async def _ask(self, name: str) -> tuple[str, ...]:
        error = CallError(SERVICE_UNAVAILABLE, f"{name}: no DNS server is known")
        for server in tuple(self._servers):
            self.asked += 1
            try:
                with mapped(f"name {name} at {server}"):
                    async with asyncio.timeout(self._settings.timeout):
                        answer = await self._exchange(server, name, self._chance.getrandbits(16))
            except CallError as failed:
                error = failed
                self._servers.append(self._servers.pop(0))
            else:
                return self._take(name, answer)
        return self._stale(name, error)

    def _take(self, name: str, answer: Answer) -> tuple[str, ...]:
        if not answer.addresses:
            self._known.pop(name, None)
            raise CallError(NO_NAME, name)
        until = asyncio.get_running_loop().time() + self.lifetime(answer)
        self._known[name] = _Known(answer.addresses, until, until)
        return answer.addresses

    def _stale(self, name: str, error: CallError) -> tuple[str, ...]:
        known, now = self._known.get(name), asyncio.get_running_loop().time()
        if known is None or now >= known.expires + self._settings.stale:
            raise error
        known.until = min(now + self._settings.recheck, known.expires + self._settings.stale)
        return known.addresses


def leading_to(links: Sequence[Upstream], addresses: Sequence[str]) -> tuple[Upstream, ...]:
    """The links to the nodes at these addresses, in the addresses' order: a name says where, a link how to get there."""
    return tuple(link for address in addresses for link in links if link.address == address)
