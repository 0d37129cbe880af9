"""Reading back what was written: the platform's last word on each key."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from harness.history import Attempt, Complete, Invoke, ProbeEnd
from harness.history import Probe as ProbeStart
from harness.probes.http import INVALID, TIMEOUT, HttpFailure, Response
from harness.probes.openloop import all_of
from harness.probes.write import WriteProbe, split_key
from harness.target import fill_headers, fill_path, pointer
from harness.units import NS, Seconds, now_ns, to_ns

if TYPE_CHECKING:
    from collections.abc import Iterable

    from harness.probes.http import Client
    from harness.probes.named import NamedClient
    from harness.probes.site import Site

READ_BACK = "read-back"

_PAUSE_S = 0.1
_ATTEMPT_S = 2.0
_AT_ONCE = 4
_MAX_ATTEMPTS_KEPT = 20
_NOT_FOUND = 404
# Numbers reads over all calls of this process, so that `op` is unique with `probe` however often is read back.
_ops = itertools.count()


@dataclass(frozen=True, slots=True)
class ReadProbe:
    """Reads `keys` once from the API when it is told to stop.

    Each key is asked for until there is an answer or `within` s are over.
    """

    kind: ClassVar[str] = "read"

    name: str
    keys: tuple[str, ...]
    org: str = "default"
    node: str = ""  # "": the topology's endpoint for writes
    within: Seconds = Seconds(10.0)

    def __post_init__(self) -> None:
        if any("{n}" in key for key in self.keys):
            raise ValueError("a key with {n} can't be read back: name the keys")

    async def run(self, site: Site, stop: asyncio.Event) -> None:
        await stop.wait()
        keys = tuple((self.org, key) for key in self.keys)
        await read_keys(site, keys, within=self.within, name=self.name, node=self.node)


def written_keys(probes: Iterable[object]) -> tuple[tuple[str, str], ...]:
    """(org, key) of all that the write probes among `probes` write, each once. ValueError for keys with "{n}"."""
    found: dict[tuple[str, str], None] = {}
    for probe in probes:
        if isinstance(probe, WriteProbe):
            for key in probe.keys:
                if "{n}" in key:
                    raise ValueError(f"probe {probe.name}: key '{key}' can't be read back")
                found[probe.org, key] = None
    return tuple(found)


async def read_keys(
    site: Site,
    keys: tuple[tuple[str, str], ...],
    *,
    within: float,
    name: str = READ_BACK,
    node: str = "",
) -> None:
    """Read (org, key) pairs and record each as an op of kind "read".

    Outcome "ok" is an answer: the value and the log position of its write, or, with status 404, that the platform
    does not have the key (value None, version -1). "unknown": no answer within `within` s, with the last error.
    """
    site.target.require("read")
    node = node or site.endpoint("write")
    site.record(ProbeStart(t=site.now(), name=name, kind="read", target=node))
    async with site.entrance(node, probe=name) as client:
        reading = _Reading(site, client, name, now_ns() + to_ns(within))
        await all_of(reading.read(org, key) for org, key in keys)
    site.record(ProbeEnd(t=site.now(), name=name, sent=len(keys)))


class _Reading:
    """One reading of many keys, with one deadline (ns, monotonic)."""

    def __init__(self, site: Site, client: Client | NamedClient, name: str, deadline: int) -> None:
        self._site = site
        self._client = client
        self._name = name
        self._deadline = deadline
        self._gate = asyncio.Semaphore(_AT_ONCE)
        self._value = pointer(site.target.read.value)
        self._position = pointer(site.target.read.position)

    def __repr__(self) -> str:
        return f"<_Reading {self._name} {self._client!r}>"

    async def read(self, org: str, key: str) -> None:
        async with self._gate:
            op, now = next(_ops), self._site.now()
            self._site.record(Invoke(t=now, op=op, probe=self._name, kind="read", due=now, key=key))
            attempts: list[Attempt] = []
            answer = await self._attempt(org, key, op, attempts)
            while answer is None and now_ns() < self._deadline:
                await asyncio.sleep(
                    _PAUSE_S
                )  # between two questions to an API that gives no answer
                answer = await self._attempt(org, key, op, attempts)
            self._site.record(answer or self._unanswered(op, key, attempts))

    async def _attempt(
        self, org: str, key: str, op: int, attempts: list[Attempt]
    ) -> Complete | None:
        how, origin = self._site.target.read, self._site.origin_ns
        owner, name = split_key(key, org)
        started = now_ns()
        left = max(0.05, (self._deadline - started) / NS)
        try:
            response = await self._client.request(
                how.method,
                fill_path(how.path, org=owner, key=name),
                headers=fill_headers(how.headers, org=owner),
                timeout=min(_ATTEMPT_S, left),
            )
        except HttpFailure as failure:
            attempts.append(Attempt(started - origin, failure.at - origin, failure.error))
            return None
        found = self._understand(response)
        error = INVALID if found is None and not response.error else response.error
        attempts.append(Attempt(started - origin, response.end - origin, error))
        if found is None:
            return None
        value, position = found
        return Complete(
            t=response.end - origin,
            op=op,
            probe=self._name,
            kind="read",
            outcome="ok",
            status=response.status,
            key=key,
            value=value,
            version=position,
            attempts=attempts[-_MAX_ATTEMPTS_KEPT:],
        )

    def _understand(self, response: Response) -> tuple[object, int] | None:
        """Value and position; None where this is not an answer."""
        if response.status == _NOT_FOUND:
            return None, -1
        if response.error:
            return None
        try:
            body: Any = msgspec.json.decode(response.body)
        except msgspec.DecodeError:
            return None
        position = self._position(body)
        return self._value(body), position if isinstance(position, int) else -1

    def _unanswered(self, op: int, key: str, attempts: list[Attempt]) -> Complete:
        return Complete(
            t=self._site.now(),
            op=op,
            probe=self._name,
            kind="read",
            outcome="unknown",
            error=attempts[-1].error if attempts else TIMEOUT,
            key=key,
            attempts=attempts[-_MAX_ATTEMPTS_KEPT:],
        )
