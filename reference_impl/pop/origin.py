"""The origin as a PoP sees it: a health request, and single flags that are not in memory (lazy loading)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Protocol, TypeAlias
from urllib.parse import quote

import msgspec

from reference_impl.config import Positive
from reference_impl.dns.resolver import leading_to
from reference_impl.pop.negative import NegativeCache
from reference_impl.propagation.types import FlagState
from reference_impl.resilience.breaker import State
from reference_impl.resilience.errors import (
    CONNECTION_REFUSED,
    INVALID,
    UNREACHABLE,
    CallError,
)
from reference_impl.resilience.retry import RetrySettings, retry

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from reference_impl.config import Upstream
    from reference_impl.dns.resolver import Resolver
    from reference_impl.resilience.breaker import Breaker
    from reference_impl.resilience.http import Answer, HttpClient
    from reference_impl.tenants.tiers import Places

NOT_FOUND = "HTTP_404"
DOTS = {".", ".."}  # a path can't name them: each client on the way resolves them
Count = Annotated[int, msgspec.Meta(ge=1)]


class LookupSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`timeout` in s is for one attempt. `absent_*`: how many unknown keys are remembered, and for how many s."""

    timeout: Positive = 1.0
    absent_size: Count = 10_000
    absent_ttl: Positive = 1.0
    concurrent: Count = 1_000  # lookups under way; more get the fallback


class Origin(Protocol):
    """What a PoP asks of the origin. Every call ends within its timeout, or raises `CallError`."""

    async def health(self) -> None: ...

    async def flag(self, org: str, key: str, attempt: int) -> FlagState | None:
        """The flag with the log position of its last change; None where there is no such flag."""
        ...


class _FlagAnswer(msgspec.Struct, frozen=True):
    flag: dict[str, Any]
    version: int
    seq: int


class HttpOrigin:
    """An `Origin` behind links, most preferred first: where nobody listens the next one is asked at once."""

    def __init__(self, http: HttpClient, upstreams: Sequence[Upstream]) -> None:
        if not upstreams:
            raise ValueError("an origin needs an upstream")
        self.upstreams = tuple(upstreams)
        self._http = http

    def __repr__(self) -> str:
        return f"<HttpOrigin {', '.join(map(str, self.upstreams))}>"

    async def health(self) -> None:
        """See `Origin.health`."""
        await self._get("/health")

    async def flag(self, org: str, key: str, attempt: int) -> FlagState | None:
        """See `Origin.flag`."""
        if {org, key} & DOTS:
            return None
        path = f"/v1/orgs/{quote(org, safe='')}/flags/{quote(key, safe='')}"
        try:
            answer = await self._get(path, attempt)
            found = msgspec.json.decode(answer.body, type=_FlagAnswer)
        except CallError as error:
            if error.kind == NOT_FOUND:
                return None
            raise
        except msgspec.DecodeError as error:
            raise CallError(INVALID, f"{path}: {error}") from None
        return FlagState(found.seq, found.flag)

    async def where(self) -> tuple[Upstream, ...]:
        """The upstreams to ask now: at least one, most preferred first. Raises `CallError`."""
        return self.upstreams

    async def _get(self, path: str, attempt: int = 1) -> Answer:
        *others, last = await self.where()
        for upstream in others:
            try:
                return await self._http.request("GET", upstream.url + path, attempt=attempt)
            except CallError as error:
                if error.kind != CONNECTION_REFUSED:
                    raise
        return await self._http.request("GET", last.url + path, attempt=attempt)


class NamedOrigin(HttpOrigin):
    """An `HttpOrigin` wherever its name leads, of the nodes that there are links to."""

    def __init__(
        self, http: HttpClient, upstreams: Sequence[Upstream], name: str, resolver: Resolver
    ) -> None:
        super().__init__(http, upstreams)
        self.at: str | None = None  # the node that the name led to last
        self._name = name
        self._resolver = resolver

    def __repr__(self) -> str:
        return f"<NamedOrigin {self._name} at {self.at}>"

    async def where(self) -> tuple[Upstream, ...]:
        """See `HttpOrigin.where`."""
        found = leading_to(self.upstreams, await self._resolver.resolve(self._name))
        if not found:
            raise CallError(UNREACHABLE, f"no link to where {self._name} leads")
        self.at = found[0].to
        return found


@dataclass(frozen=True, slots=True)
class Absent:
    """The origin says that there is no such flag."""


@dataclass(frozen=True, slots=True)
class Unavailable:
    """The fallback response: nobody could be asked. `circuit` is the breaker's state, `error` the failure's class."""

    circuit: State
    error: str = ""


Lookup: TypeAlias = FlagState | Absent | Unavailable
ABSENT = Absent()


class ReadThrough:
    """Looks up flags at the origin: `breaker(retry(call))`, one call per key at a time, absence remembered."""

    def __init__(
        self,
        origin: Origin,
        breaker: Breaker,
        retries: RetrySettings,
        settings: LookupSettings,
        chance: random.Random,
        places: Places,
    ) -> None:
        self.breaker = breaker
        self.settings = settings
        self.lookups = 0  # that went to the breaker
        self.shared = 0  # that joined another's call
        self.absent: NegativeCache[tuple[str, str]] = NegativeCache(
            size=settings.absent_size, ttl=settings.absent_ttl
        )
        self._origin = origin
        self._retries = retries
        self._chance = chance
        self._places = places
        self._flying: dict[tuple[str, str], asyncio.Task[Lookup]] = {}

    def __repr__(self) -> str:
        return f"<ReadThrough {self.breaker!r}, {len(self._flying)} under way>"

    async def lookup(self, org: str, key: str) -> Lookup:
        """Never raises for a failed call: that is `Unavailable`."""
        name = (org, key)
        if name in self.absent:
            return ABSENT
        call = self._flying.get(name)
        if call is not None:
            self.shared += 1
        elif (place := self._places.enter(org)) is None:
            return Unavailable(self.breaker.state)
        else:
            call = asyncio.create_task(self._ask(org, key), name=f"lookup {org}/{key}")
            self._flying[name] = call
            call.add_done_callback(lambda _: self._ended(name, place))
        # One caller who hangs up must not take the answer from the others.
        return await asyncio.shield(call)

    async def close(self) -> None:
        """End all calls that are under way."""
        calls = list(self._flying.values())
        for call in calls:
            call.cancel()
        if calls:
            await asyncio.wait(calls)

    def _ended(self, name: tuple[str, str], place: str) -> None:
        del self._flying[name]
        self._places.leave(place)

    async def _ask(self, org: str, key: str) -> Lookup:
        self.lookups += 1

        async def once(attempt: int) -> FlagState | None:
            return await self._origin.flag(org, key, attempt)

        async def operation() -> Lookup:
            return await retry(once, self._retries, self._chance) or ABSENT

        found = await self.breaker.call(operation, self._fallback)
        if isinstance(found, Absent):
            self.absent.add((org, key))
        return found

    def _fallback(self, error: CallError | None) -> Lookup:
        return Unavailable(self.breaker.state, error.kind if error else "")
