"""Writes: values that only rise, never tried twice, so that what is missing afterwards can be named and dated."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from harness.errors import RuntimeFailure
from harness.history import Attempt, Complete, Invoke, Note
from harness.history import Probe as ProbeStart
from harness.probes.http import INVALID, TIMEOUT, HttpFailure, Response
from harness.probes.openloop import all_of, default_limit, keys_for, run_open_loop
from harness.probes.schedule import interval_of
from harness.target import Write, fill, fill_headers, fill_path, pointer
from harness.units import NS, Seconds, now_ns, to_ns

if TYPE_CHECKING:
    from harness.probes.http import Client
    from harness.probes.named import NamedClient
    from harness.probes.schedule import Firing
    from harness.probes.site import Site

_REQUEST_TIMEOUT = 408  # the server may have begun
_PAUSE_S = 0.05
_AT_ONCE = 8  # seeds in flight


@dataclass(frozen=True, slots=True)
class Receipt:
    """An acknowledged write: which flag, what was written, and the log position that it was given."""

    org: str
    key: str
    value: int
    position: int
    body: str


@dataclass(frozen=True, slots=True)
class WriteProbe:
    """Writes `rate` flag values a second to the API, to `keys` in turn: `first`, `first` + 1, … over the probe.

    Keys are of `org`, or "org/key".
    A write has outcome "ok" (acknowledged; `version` is its log position), "fail" (certainly not done: no byte was
    sent, or a 4xx) or "unknown" (all else: it may be done, now or later). It is never tried again.
    `in_flight` 0: as many as a full outage leaves waiting.
    """

    kind: ClassVar[str] = "write"

    name: str
    keys: tuple[str, ...] = ("squall-w0", "squall-w1", "squall-w2", "squall-w3")
    rate: float = 10.0
    org: str = "default"
    timeout: Seconds = Seconds(2.0)
    node: str = ""  # "": the topology's endpoint for writes
    group: str = ""
    first: int = 1
    keep_alive: bool = True
    in_flight: int = 0
    budget: Seconds = Seconds(0.05)

    def __post_init__(self) -> None:
        interval_of(self.rate)
        if not self.keys:
            raise ValueError("keys must name at least one flag")

    async def run(self, site: Site, stop: asyncio.Event) -> None:
        site.target.require("write")
        node = self.node or site.endpoint("write")
        interval = interval_of(self.rate)
        async with site.entrance(node, self.group, probe=self.name) as client:
            writing = _Writing(self, site, client)
            start = ProbeStart(
                t=site.now(),
                name=self.name,
                kind=self.kind,
                interval=interval,
                target=node,
                group=self.group,
                budget=to_ns(self.budget),
            )
            await run_open_loop(
                site,
                start,
                writing.fire,
                writing.abandon,
                stop,
                limit=self.in_flight or default_limit(self.rate, self.timeout),
                drain=self.timeout + 0.5,
            )


class _Writing:
    """One run of a WriteProbe."""

    def __init__(self, probe: WriteProbe, site: Site, client: Client | NamedClient) -> None:
        self._probe = probe
        self._site = site
        self._client = client
        self._keys = keys_for(probe.keys)
        self._position = pointer(site.target.write.position)

    def __repr__(self) -> str:
        return f"<_Writing {self._probe.name} {self._client!r}>"

    async def fire(self, firing: Firing) -> None:
        probe, write = self._probe, self._site.target.write
        key, value = self._keys(firing.op), probe.first + firing.op
        org, name = split_key(key, probe.org)
        path = fill_path(write.path, org=org, key=name)
        headers = fill_headers(write.headers, org=org)
        body = fill(write.body, n=str(value), org=org, key=name).encode()
        self._site.record(
            Invoke(
                t=firing.sent,
                op=firing.op,
                probe=probe.name,
                kind="write",
                due=firing.due,
                key=key,
                value=value,
            )
        )
        try:
            response = await self._client.request(
                write.method,
                path,
                headers=headers,
                body=body,
                timeout=probe.timeout,
                fresh=not probe.keep_alive,
            )
        except HttpFailure as failure:
            outcome = "unknown" if failure.sent else "fail"
            self._complete(firing, key, outcome, failure.error, failure.at)
            return
        outcome, error, position = judge_write(response, self._position(_decode(response.body)))
        if outcome == "ok":
            receipt = Receipt(probe.org, key, value, position, body.decode())
            self._site.receipts.setdefault(probe.name, []).append(receipt)
        self._complete(
            firing, key, outcome, error, response.end, status=response.status, version=position
        )

    def abandon(self, firing: Firing) -> None:
        self._complete(firing, self._keys(firing.op), "unknown", TIMEOUT, now_ns())

    def _complete(
        self,
        firing: Firing,
        key: str,
        outcome: str,
        error: str,
        at_ns: int,
        *,
        status: int = 0,
        version: int = -1,
    ) -> None:
        at = at_ns - self._site.origin_ns
        self._site.record(
            Complete(
                t=at,
                op=firing.op,
                probe=self._probe.name,
                kind="write",
                outcome=outcome,
                error=error,
                status=status,
                key=key,
                value=self._probe.first + firing.op,
                version=version,
                attempts=[Attempt(firing.sent, at, error)],
            )
        )


def judge_write(response: Response, position: object) -> tuple[str, str, int]:
    """Outcome, error and acknowledged position of a write's answer."""
    error = response.error
    if not error:
        if isinstance(position, int) and not isinstance(position, bool):
            return "ok", "", position
        return "unknown", INVALID, -1
    certain = 400 <= response.status < 500 and response.status != _REQUEST_TIMEOUT  # noqa: PLR2004 - the range of 4xx
    return ("fail" if certain else "unknown"), error, -1


def _decode(body: bytes) -> object:
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError:
        return None


# --------------------------------------------------------------------------------------------------------- seeds


def flag_definition(value: Any, targeting: dict[str, Any] | None = None) -> dict[str, Any]:
    """A flagd definition whose default is `value`. A mapping that has "variants" already is one, and stays as it is.

    A boolean flag has the variants "on" and "off"; any other value is the variant "v".
    """
    if isinstance(value, dict) and "variants" in value:
        return value
    if isinstance(value, bool):
        variants: dict[str, Any] = {"on": True, "off": False}
        default = "on" if value else "off"
    else:
        variants, default = {"v": value}, "v"
    flag: dict[str, Any] = {"state": "ENABLED", "variants": variants, "defaultVariant": default}
    return flag | ({"targeting": targeting} if targeting else {})


def targeted_flag(attribute: str, equals: Any, then: Any, otherwise: Any) -> dict[str, Any]:
    """A flagd definition: `then` for contexts whose `attribute` equals `equals`, else `otherwise`."""
    return {
        "state": "ENABLED",
        "variants": {"match": then, "other": otherwise},
        "defaultVariant": "other",
        "targeting": {"if": [{"==": [{"var": attribute}, equals]}, "match", "other"]},
    }


def filled_keys(count: int) -> tuple[str, ...]:
    """The keys of so many made-up flags."""
    return tuple(f"fill-{n:06d}" for n in range(count))


def made_up(count: int, size: int) -> dict[str, Any]:
    """`count` flags, each a definition of `size` bytes as JSON (at least some 200): one rule, and texts that nothing can share."""
    flags: dict[str, Any] = {}
    for n, key in enumerate(filled_keys(count)):
        chance = random.Random(n)
        flag = targeted_flag("tier", "gold", "", "")
        room = size - len(msgspec.json.encode(flag))
        half = max(0, room // 4)
        flag["variants"] = {
            "match": chance.randbytes(half).hex(),
            "other": chance.randbytes(max(0, room - 2 * half) // 2).hex(),
        }
        flags[key] = flag
    return flags


async def write_flags(
    site: Site, flags: dict[str, Any], *, org: str = "default", within: float = 10.0
) -> int:
    """Write flags until each is acknowledged; returns the highest log position (-1 for no flags).

    Keys are of `org`, or "org/key". Values: a boolean, string or number, or a whole flagd definition. Tried again
    until `within` s are over; then RuntimeFailure with what was seen last. One `Note` records the whole.
    """
    if not flags:
        return -1
    site.target.require("write")
    deadline = now_ns() + to_ns(within)
    gate = asyncio.Semaphore(_AT_ONCE)
    async with site.entrance(site.endpoint("write"), probe="seed") as client:
        seed = _Seed(site, client, deadline, gate)
        positions = await all_of(
            seed.write(*split_key(key, org), flag_definition(value)) for key, value in flags.items()
        )
    highest = max(positions)
    site.record(
        Note(t=site.now(), source="seed", text=f"{len(flags)} flags up to log position {highest}")
    )
    return highest


def split_key(key: str, org: str) -> tuple[str, str]:
    """("acme", "dark-mode") of "acme/dark-mode"; (`org`, key) of a key without a slash."""
    before, slash, after = key.rpartition("/")
    return (before, after) if slash else (org, key)


class _Seed:
    """Writes flags until they are acknowledged."""

    def __init__(
        self,
        site: Site,
        client: Client | NamedClient,
        deadline: int,
        gate: asyncio.Semaphore,
    ) -> None:
        self._write: Write = site.target.write
        self._client = client
        self._deadline = deadline
        self._gate = gate
        self._position = pointer(self._write.position)

    def __repr__(self) -> str:
        return f"<_Seed {self._client!r}>"

    async def write(self, org: str, key: str, definition: dict[str, Any]) -> int:
        path = fill_path(self._write.path, org=org, key=key)
        headers = fill_headers(self._write.headers, org=org)
        text = msgspec.json.encode(definition).decode()
        body = fill(self._write.seed, definition=text, org=org, key=key).encode()
        seen = "nothing was tried"
        async with self._gate:
            while (left := (self._deadline - now_ns()) / NS) > 0:
                try:
                    response = await self._client.request(
                        self._write.method, path, headers=headers, body=body, timeout=min(left, 2.0)
                    )
                except HttpFailure as failure:
                    seen = failure.error
                else:
                    answer = self._position(_decode(response.body))
                    outcome, error, position = judge_write(response, answer)
                    if outcome == "ok":
                        return position
                    seen = f"{error} {response.body[:200].decode('utf-8', 'replace')}"
                    if outcome == "fail":
                        break  # a 4xx says that the same request will never do
                await asyncio.sleep(min(_PAUSE_S, left))
        raise RuntimeFailure(f"flag {org}/{key} was not written in time; last seen: {seen}")
