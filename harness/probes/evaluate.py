"""Evaluations, as users make them: one flag, one user, one retry of the client's own."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import msgspec

from harness.history import Attempt, Complete, Invoke
from harness.history import Probe as ProbeStart
from harness.probes.caching import CachingClient
from harness.probes.http import (
    CONNECTION_CLOSED,
    CONNECTION_REFUSED,
    CONNECTION_RESET,
    INVALID,
    SERVICE_UNAVAILABLE,
    TIMEOUT,
    UNRESOLVED,
    HttpFailure,
    Response,
)
from harness.probes.openloop import default_limit, keys_for, run_open_loop
from harness.probes.schedule import interval_of
from harness.probes.write import filled_keys
from harness.target import fill, fill_headers, fill_path, pointer
from harness.units import Seconds, now_ns, to_ns

if TYPE_CHECKING:
    from harness.probes.caching import Requests
    from harness.probes.schedule import Firing
    from harness.probes.site import Site

# An evaluation changes nothing, so a client may ask again wherever it got no answer, or a gateway's "not now".
RETRYABLE = frozenset(
    {
        TIMEOUT,
        CONNECTION_REFUSED,
        CONNECTION_RESET,
        CONNECTION_CLOSED,
        SERVICE_UNAVAILABLE,
        UNRESOLVED,
        "HTTP_502",
        "HTTP_504",
    }
)
_TYPES: dict[str, tuple[type, ...]] = {
    "boolean": (bool,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "object": (dict, list),
}


@dataclass(frozen=True, slots=True)
class EvaluateProbe:
    """Evaluates `rate` flags a second: `keys` in turn ("cold-{n}": a new key each time) for `users` users in turn.

    Asks the topology's endpoint for evaluations, from the client group's address, or a `node` directly. `timeout` is
    that of each attempt; `retries` are made on a new connection after no answer, 502, 503 or 504: at once after an attempt
    that was waited for in vain, else after `pause`.
    `expect` is the value's type; another is INVALID. Outcome "fail" is an evaluation that the user did not get;
    "unknown" one that still waited when the probe ended. `in_flight` 0: as many as a full outage leaves waiting.
    `filled`: instead of `keys`, in turn the flags that a step `fill` of so many writes.
    `cache`: through an HTTP cache that all of the probe's users share.
    """

    kind: ClassVar[str] = "evaluate"

    name: str
    keys: tuple[str, ...] = ("squall-flag",)
    group: str = ""
    node: str = ""
    rate: float = 200.0
    org: str = "default"
    timeout: Seconds = Seconds(1.0)
    retries: int = 1
    pause: Seconds = Seconds(0.0)
    expect: Literal["", "boolean", "string", "integer", "number", "object"] = ""
    users: int = 1000
    context: dict[str, Any] = field(default_factory=dict)  # besides the targetingKey
    keep_alive: bool = True
    in_flight: int = 0
    cache: bool = False
    filled: int = 0
    budget: Seconds = Seconds(0.05)

    def __post_init__(self) -> None:
        interval_of(self.rate)
        if not self.keys:
            raise ValueError("keys must name at least one flag")
        if self.filled < 0:
            raise ValueError("filled must not be negative")
        if self.users < 1 or self.retries < 0:
            raise ValueError("users must be at least 1 and retries at least 0")

    async def run(self, site: Site, stop: asyncio.Event) -> None:
        site.target.require("evaluate")
        node = self.node or site.endpoint("evaluate")
        longest = self.timeout * (1 + self.retries)
        async with site.entrance(
            node, self.group, probe=self.name, keep_alive=self.keep_alive
        ) as client:
            evaluating = _Evaluating(self, site, CachingClient(client) if self.cache else client)
            start = ProbeStart(
                t=site.now(),
                name=self.name,
                kind=self.kind,
                interval=interval_of(self.rate),
                target=node,
                group=self.group,
                budget=to_ns(self.budget),
            )
            await run_open_loop(
                site,
                start,
                evaluating.fire,
                evaluating.abandon,
                stop,
                limit=self.in_flight or default_limit(self.rate, longest),
                drain=min(longest, 10.0) + 0.5,
            )


class _Answer(msgspec.Struct, frozen=True):
    """What an evaluation's answer said, in the history's terms; `error` "" or INVALID."""

    error: str = ""
    value: object = None
    variant: str = ""
    reason: str = ""
    node: str = ""
    level: str = ""
    version: int = -1
    stale: bool = False
    emergency: bool = False
    metadata: dict[str, object] = {}
    cache_control: str = ""
    etag: str = ""
    cached: bool = False
    retry_after: str = ""


class _Reader:
    """Reads answers by the target's pointers."""

    def __init__(self, site: Site, expect: str) -> None:
        how = site.target.evaluate
        self._value, self._variant = pointer(how.value), pointer(how.variant)
        self._reason, self._error_code = pointer(how.reason), pointer(how.error_code)
        self._metadata, self._node = pointer(how.metadata), pointer(how.node)
        self._level, self._version = pointer(how.level), pointer(how.version)
        self._stale, self._emergency = pointer(how.stale), pointer(how.emergency)
        self._types = _TYPES.get(expect)

    def __repr__(self) -> str:
        return f"<_Reader of {self._types or 'any value'}>"

    def read(self, response: Response) -> _Answer:
        try:
            body = msgspec.json.decode(response.body)
        except msgspec.DecodeError:
            body = None
        if not isinstance(body, dict):
            return _Answer(error=INVALID)
        value, version, metadata = self._value(body), self._version(body), self._metadata(body)
        return _Answer(
            error="" if response.error or self._fits(value) else INVALID,
            value=value,
            variant=_text(self._variant(body)),
            reason=_text(self._error_code(body) if response.error else self._reason(body)),
            node=_text(self._node(body)),
            level=_text(self._level(body)),
            version=version if isinstance(version, int) else -1,
            stale=self._stale(body) is True,
            emergency=self._emergency(body) is True,
            metadata=metadata if isinstance(metadata, dict) else {},
            cache_control=response.headers.get("cache-control", ""),
            etag=response.headers.get("etag", ""),
            cached="age" in response.headers,
            retry_after=response.headers.get("retry-after", ""),
        )

    def _fits(self, value: object) -> bool:
        if self._types is None:
            return value is not None
        # In Python a bool is an int; to a user it is not.
        return isinstance(value, self._types) and (
            not isinstance(value, bool) or bool in self._types
        )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


class _Evaluating:
    """One run of an EvaluateProbe."""

    def __init__(self, probe: EvaluateProbe, site: Site, client: Requests) -> None:
        self._probe = probe
        self._site = site
        self._client = client
        self._how = site.target.evaluate
        self._keys = keys_for(filled_keys(probe.filled) or probe.keys)
        self._headers = fill_headers(self._how.headers, org=probe.org)
        self._reader = _Reader(site, probe.expect)
        self._path = lru_cache(1024)(self._path_of)

    def __repr__(self) -> str:
        return f"<_Evaluating {self._probe.name} {self._client!r}>"

    async def fire(self, firing: Firing) -> None:
        probe = self._probe
        key, user = self._keys(firing.op), f"user-{firing.op % probe.users}"
        path = self._path(key).replace("{user}", user)
        context = msgspec.json.encode({"targetingKey": user, **probe.context}).decode()
        body = fill(self._how.body, context=context, user=user, org=probe.org, key=key).encode()
        self._site.record(
            Invoke(
                t=firing.sent,
                op=firing.op,
                probe=probe.name,
                kind="evaluate",
                due=firing.due,
                key=key,
                value=user,
            )
        )
        attempts: list[Attempt] = []
        response = await self._attempt(path, body, attempts)
        while attempts[-1].error in RETRYABLE and len(attempts) <= probe.retries:
            if probe.pause and attempts[-1].error != TIMEOUT:
                await asyncio.sleep(probe.pause)
            response = await self._attempt(path, body, attempts)
        self._complete(firing, key, response, attempts)

    def _path_of(self, key: str) -> str:
        return fill_path(self._how.path, org=self._probe.org, key=key)

    async def _attempt(self, path: str, body: bytes, attempts: list[Attempt]) -> Response | None:
        origin = self._site.origin_ns
        started = now_ns()
        try:
            response = await self._client.request(
                self._how.method,
                path,
                headers=self._headers,
                body=body,
                timeout=self._probe.timeout,
                # What broke one idle connection broke its neighbours too.
                fresh=bool(attempts) or not self._probe.keep_alive,
            )
        except HttpFailure as failure:
            attempts.append(Attempt(started - origin, failure.at - origin, failure.error))
            return None
        attempts.append(Attempt(started - origin, response.end - origin, response.error))
        return response

    def _complete(
        self, firing: Firing, key: str, response: Response | None, attempts: list[Attempt]
    ) -> None:
        answer = _Answer() if response is None else self._reader.read(response)
        error = attempts[-1].error or answer.error
        self._site.record(
            Complete(
                t=attempts[-1].end,
                op=firing.op,
                probe=self._probe.name,
                kind="evaluate",
                outcome="fail" if error else "ok",
                error=error,
                status=0 if response is None else response.status,
                key=key,
                node=answer.node,
                value=answer.value,
                variant=answer.variant,
                reason=answer.reason,
                version=answer.version,
                level=answer.level,
                stale=answer.stale,
                emergency=answer.emergency,
                metadata=answer.metadata,
                attempts=attempts,
                cache_control=answer.cache_control,
                etag=answer.etag,
                cached=answer.cached,
                retry_after=answer.retry_after,
            )
        )

    def abandon(self, firing: Firing) -> None:
        now = self._site.now()
        self._site.record(
            Complete(
                t=now,
                op=firing.op,
                probe=self._probe.name,
                kind="evaluate",
                outcome="unknown",
                error=TIMEOUT,
                key=self._keys(firing.op),
                attempts=[Attempt(firing.sent, now, TIMEOUT)],
            )
        )
