"""Locust's users, one class for each kind of load. Only for locust's own processes: locust patches whoever imports it."""

from __future__ import annotations

import itertools
import json
import os
import random
import time
from typing import TYPE_CHECKING, Any, ClassVar

from gevent import socket
from geventhttpclient.client import HTTPClientPool
from locust import FastHttpUser, constant, constant_throughput, events, task
from locust.contrib.fasthttp import FAILURE_EXCEPTIONS, FastHttpSession

from harness.load.options import add_options, job_of
from harness.target import fill, fill_headers, fill_path

if TYPE_CHECKING:
    from collections.abc import Callable

    from geventhttpclient.client import HTTPClient
    from locust.env import Environment

    from harness.load.job import Job

SSE = "SSE"
CONTEXTS = 1000  # as many users' keys as the open-loop probes have
# Of a process; it begins where no other worker's does, so that no two write the same value.
_turns = itertools.count(os.getpid() * 1_000_000)

events.init_command_line_parser.add_listener(add_options)  # type: ignore[no-untyped-call]


class SourcePool(HTTPClientPool):
    """Connections from one source address; "": from any."""

    def __init__(self, source: str, timeout: float) -> None:
        super().__init__(connection_timeout=timeout, network_timeout=timeout, concurrency=1)
        self._source = source

    def get_client(self, url: Any) -> HTTPClient:
        client = super().get_client(url)
        if self._source:
            pool: Any = client._connection_pool  # noqa: SLF001 - it has no other way
            pool._create_tcp_socket = self._bound  # noqa: SLF001
        return client

    def _bound(self, family: int, kind: int, protocol: int) -> socket.socket:
        made = socket.socket(family, kind, protocol)
        # The port is chosen when it connects: else all users of an address would share its 28,000.
        made.setsockopt(socket.IPPROTO_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT
        made.bind((self._source, 0))
        return made


class LoadUser(FastHttpUser):
    """A user of a platform. `given` is what the harness wants of it; by hand, the command line says."""

    abstract = True
    kind: ClassVar[str] = ""
    given: ClassVar[Job | None] = None
    pause: ClassVar[float] = 0.0  # s before the next request where no rate is asked for

    def __init__(self, environment: Environment) -> None:
        self.job = self.given or job_of(self.kind, environment.parsed_options, self.host or "")
        super().__init__(environment)
        pace = constant_throughput(self.job.rate) if self.job.rate else constant(self.pause)
        self._pace: Callable[[Any], float] = pace
        self.sessions = {
            group: FastHttpSession(
                base_url=self.host,
                request_event=environment.events.request,
                user=self,
                client_pool=SourcePool(source, self.job.timeout),
            )
            for group, source in (self.job.sources or {"": ""}).items()
        }
        self._headers = fill_headers(self.job.headers, org=self.job.org)
        self._began = time.monotonic()

    def wait_time(self) -> float:
        """Called by locust between two tasks; s."""
        return self._pace(self)

    def session(self) -> FastHttpSession:
        """That of the client group whose turn it is."""
        groups, shape = list(self.sessions), self.job.shape
        if shape.kind == "spot" and shape.group in self.sessions:
            others = [group for group in groups if group != shape.group]
            begun = getattr(self.environment, "squall_begun", self._began)
            if not others or random.random() < shape.share(time.monotonic() - begun):
                return self.sessions[shape.group]
            groups = others
        return self.sessions[random.choice(groups)]

    def ask(self, *, headers: dict[str, str] | None = None) -> Any:
        """One request as the job's templates have it, for the next key and user."""
        job, n = self.job, next(_turns)
        key, user = job.keys[n % len(job.keys)], f"user-{n % CONTEXTS}"
        context = json.dumps({"targetingKey": user}, separators=(",", ":"))
        body = fill(job.body, context=context, user=user, org=job.org, key=key, n=str(n))
        return self.session().request(
            job.method,
            fill_path(job.path, org=job.org, key=key),
            name=job.kind,
            data=body,
            headers={**self._headers, **(headers or {})},
        )


class EvaluateUser(LoadUser):
    """Evaluates one flag after another."""

    kind = "evaluate"

    @task
    def evaluate(self) -> None:
        self.ask()


class BulkUser(LoadUser):
    """Evaluates all flags at once, as client-side SDKs do; it has an ETag after the first time."""

    kind = "bulk"
    etag = ""

    @task
    def evaluate_all(self) -> None:
        response = self.ask(headers={"If-None-Match": self.etag} if self.etag else None)
        self.etag = (response.headers or {}).get("etag", "") or self.etag


class WriteUser(LoadUser):
    """Writes one flag after another, each time with a new value."""

    kind = "write"

    @task
    def write(self) -> None:
        self.ask()


class StreamUser(LoadUser):
    """Subscribes to the stream. Each event is counted: `change` with how long after its commit it came, the others with 0."""

    kind = "stream"
    pause = 1.0  # before it comes back: where nobody listens, it would ask all the time

    @task
    def follow(self) -> None:
        job = self.job
        response: Any = self.session().request(
            job.method, job.path, name="stream", stream=True, headers=self._headers
        )
        if response.status_code != 200:  # noqa: PLR2004 - HTTP
            return
        try:
            self._events(response._response)  # noqa: SLF001 - reading by the line is not in FastResponse
        except FAILURE_EXCEPTIONS as error:
            self._tell("silent", 0.0, 0, error)
        finally:
            response._response.release()  # noqa: SLF001

    def _events(self, stream: Any) -> None:
        """Until the stream ends or the user is to stop, which it sees at the next event: there is one each second."""
        what, data = "", b""
        while self._state != "stopping" and (line := stream.readline(b"\n")):
            name, _, value = line.strip().partition(b":")
            if name == b"event":
                what = value.strip().decode()
            elif name == b"data":
                data = value.strip()
            elif not name and what:
                self._tell(what, _delay_ms(data) if what == "change" else 0.0, len(data))
                what, data = "", b""

    def _tell(self, what: str, ms: float, size: int, error: Exception | None = None) -> None:
        self.environment.events.request.fire(
            request_type=SSE,
            name=what,
            response_time=ms,
            response_length=size,
            exception=error,
            context={},
            response=None,
        )


def _delay_ms(data: bytes) -> float:
    at = json.loads(data).get("at", 0)
    return max(0.0, (time.time_ns() - at) / 1e6) if at else 0.0


USERS: dict[str, type[LoadUser]] = {
    user.kind: user for user in (EvaluateUser, BulkUser, StreamUser, WriteUser)
}
