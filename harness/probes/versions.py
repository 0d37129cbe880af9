"""Reading a flag's past: each version that was acknowledged once, as it was written."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from typing import TYPE_CHECKING

import msgspec

from harness.history import Attempt, Complete, Invoke, ProbeEnd
from harness.history import Probe as ProbeStart
from harness.probes.http import INVALID, TIMEOUT, HttpFailure, Response
from harness.probes.openloop import all_of
from harness.target import fill_headers, fill_path, pointer
from harness.units import NS, now_ns, to_ns

if TYPE_CHECKING:
    from collections.abc import Iterable

    from harness.probes.http import Client
    from harness.probes.named import NamedClient
    from harness.probes.site import Site
    from harness.probes.write import Receipt

READ_VERSIONS = "read-versions"

_PAUSE_S = 0.1
_ATTEMPT_S = 5.0
_AT_ONCE = 4
_NOT_FOUND = 404
_ops = itertools.count()  # over all calls of this process, as with reads


async def read_versions(site: Site, probes: Iterable[str], *, within: float) -> None:
    """Read each version that `probes` were acknowledged, and record it as an op of kind "version".

    `Invoke.value` is the position that names it. Outcome "ok" is an answer; a 404, that there is no such version (value None).
    `metadata` has digests of the definitions that were written and read. "unknown": no answer within `within` s for all.
    """
    site.target.require("versions")
    receipts = [receipt for name in probes for receipt in site.receipts.get(name, ())]
    door = site.endpoint("write")
    site.record(ProbeStart(t=site.now(), name=READ_VERSIONS, kind="version", target=door))
    async with site.entrance(door, probe=READ_VERSIONS) as client:
        reading = _Reading(site, client, now_ns() + to_ns(within))
        await all_of(reading.read(receipt) for receipt in receipts)
    site.record(ProbeEnd(t=site.now(), name=READ_VERSIONS, sent=len(receipts)))


class _Reading:
    """One reading of many versions, with one deadline (ns, monotonic)."""

    def __init__(self, site: Site, client: Client | NamedClient, deadline: int) -> None:
        self._site = site
        self._client = client
        self._deadline = deadline
        self._gate = asyncio.Semaphore(_AT_ONCE)
        self._definition = pointer(site.target.versions.definition)
        self._value = pointer(site.target.versions.value)

    def __repr__(self) -> str:
        return f"<_Reading {READ_VERSIONS} {self._client!r}>"

    async def read(self, receipt: Receipt) -> None:
        async with self._gate:
            op, now = next(_ops), self._site.now()
            self._site.record(
                Invoke(
                    t=now,
                    op=op,
                    probe=READ_VERSIONS,
                    kind="version",
                    due=now,
                    key=receipt.key,
                    value=receipt.position,
                )
            )
            attempt = Attempt(now, now, TIMEOUT)
            while now_ns() < self._deadline:
                attempt, answer = await self._attempt(receipt)
                if answer is not None and not attempt.error:
                    self._site.record(self._answered(receipt, op, attempt, answer))
                    return
                await asyncio.sleep(
                    _PAUSE_S
                )  # between two questions to an API that gives no answer
            self._site.record(
                Complete(
                    t=self._site.now(),
                    op=op,
                    probe=READ_VERSIONS,
                    kind="version",
                    outcome="unknown",
                    error=attempt.error,
                    key=receipt.key,
                    attempts=[attempt],
                )
            )

    async def _attempt(self, receipt: Receipt) -> tuple[Attempt, Response | None]:
        how, origin = self._site.target.versions, self._site.origin_ns
        started = now_ns()
        left = max(0.05, (self._deadline - started) / NS)
        path = fill_path(how.path, org=receipt.org, key=receipt.key, n=str(receipt.position))
        try:
            response = await self._client.request(
                how.method,
                path,
                headers=fill_headers(how.headers, org=receipt.org),
                timeout=min(_ATTEMPT_S, left),
            )
        except HttpFailure as failure:
            return Attempt(started - origin, failure.at - origin, failure.error), None
        error = "" if response.status == _NOT_FOUND else response.error or _unread(response)
        return Attempt(started - origin, response.end - origin, error), response

    def _answered(self, receipt: Receipt, op: int, attempt: Attempt, answer: Response) -> Complete:
        found = answer.status != _NOT_FOUND
        body = msgspec.json.decode(answer.body) if found else None
        read = digest(self._definition(body)) if found else ""
        written = digest(msgspec.json.decode(receipt.body))
        return Complete(
            t=attempt.end,
            op=op,
            probe=READ_VERSIONS,
            kind="version",
            outcome="ok",
            status=answer.status,
            key=receipt.key,
            value=self._value(body) if found else None,
            version=receipt.position,
            metadata={"written": written, "read": read},
            attempts=[attempt],
        )


def digest(definition: object) -> str:
    """Of a definition's bytes as JSON without white space, in the order of its members: changed by any other change."""
    return hashlib.sha256(msgspec.json.encode(definition)).hexdigest()[:32]


def _unread(response: Response) -> str:
    try:
        msgspec.json.decode(response.body)
    except msgspec.DecodeError:
        return INVALID
    return ""
