"""What locust's processes are told, and what they say: one JSON message a line. Known to both sides; neither locust nor a loop is."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from harness.history import LoadTotal
from harness.load.shape import Shape

KINDS = ("evaluate", "bulk", "stream", "write")
Kind = Literal["evaluate", "bulk", "stream", "write"]


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """`rate`: requests per second of each user, 0: the next one as soon as the last is answered. `sources`: client group to source
    address, "" for any. `spawn`: users started per second. `timeout` in s. `path`, `headers` and `body` are the target's
    templates; `body` has ``{context}``, ``{n}``.
    """

    kind: Kind
    host: str
    method: str
    path: str
    headers: dict[str, str]
    body: str = ""
    keys: tuple[str, ...] = ("squall-flag",)
    org: str = "default"
    rate: float = 0.0
    users: int = 1
    spawn: float = 100.0
    workers: int = 1
    timeout: float = 2.0
    sources: dict[str, str] = {}
    shape: Shape = Shape()


def read_job(path: Path) -> Job:
    return msgspec.json.decode(path.read_bytes(), type=Job)


class Listening(msgspec.Struct, frozen=True, tag="listening"):
    """The master waits for its workers at this port."""

    port: int


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """All workers are there; nothing is sent yet."""


class Second(msgspec.Struct, frozen=True, tag="second"):
    """What was answered in one second of the monotonic clock, by all workers. Latencies in ns, `late`: how much a worker's own
    loop was. A worker's late report makes another message for the same second.
    """

    second: int
    requests: int
    failures: int
    users: int
    p50: int
    p95: int
    p99: int
    late: int


class Finished(msgspec.Struct, frozen=True, tag="finished"):
    """All users have stopped and all workers have said their last, but for `missing`; `first` and `last`: monotonic ns around all that was sent."""

    totals: list[LoadTotal]
    missing: int
    first: int
    last: int


Said = Listening | Ready | Second | Finished
