"""Locust's master: it hears "go" and "stop" on stdin, each a line, and says what `harness.load.job` has on stdout."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import gevent
import msgspec
from gevent.os import make_nonblocking

from harness.history import LoadTotal
from harness.load.counting import Merger, Report
from harness.load.job import Finished, Listening, Ready
from harness.load.worker import environment_of

if TYPE_CHECKING:
    from harness.load.job import Job, Said

TICK = 0.1  # s between looks
SOON = 0.01
TOLD_AFTER = 3  # s; by then every worker has reported a second, which is then told
STOP_MARGIN = 4.0  # s for workers' last reports, after the longest request
NS_PER_MS = 1_000_000


def run(job: Job, host: str) -> None:
    """Until all is told; does not return."""
    _Master(job, host).run()
    os._exit(0)  # locust's greenlets have nothing left to do


class _Master:
    def __init__(self, job: Job, host: str) -> None:
        self._job = job
        self._merger = Merger()
        self._environment = environment_of(job)
        self._runner = self._environment.create_master_runner(host, 0)
        self._words = _Words()
        decoder = msgspec.json.Decoder(Report)

        def reported(client_id: str, data: dict[str, Any]) -> None:
            if "squall" in data:
                self._merger.take(client_id, decoder.decode(data["squall"]))

        self._environment.events.worker_report.add_listener(reported)

    def __repr__(self) -> str:
        return f"<_Master {self._job.kind} {self._runner.state} {self._merger!r}>"

    def run(self) -> None:
        _say(Listening(self._runner.server.port))
        self._until(lambda: len(self._runner.clients.ready) >= self._job.workers)
        _say(Ready())
        self._until(lambda: self._words.heard("go"))
        first = time.monotonic_ns()
        if not self._words.heard("stop"):
            self._runner.start_shape()
        while not self._words.heard("stop") and self._runner.shape_greenlet is not None:
            self._tell(int(time.monotonic()))
            gevent.sleep(TICK)
        missing = self._stop()
        for second in self._merger.until(int(time.monotonic()) + 1):
            _say(second)
        _say(Finished(self._totals(), missing, first, time.monotonic_ns()))

    def _until(self, met: Callable[[], bool]) -> None:
        while not met() and not self._words.heard("stop"):
            gevent.sleep(SOON)

    def _tell(self, now: int) -> None:
        self._merger.users(now, self._runner.user_count)
        for second in self._merger.until(now - TOLD_AFTER):
            _say(second)

    def _stop(self) -> int:
        """Let all users end what they are at, and hear their workers' last reports; returns how many did not give one."""
        deadline = time.monotonic() + self._environment.stop_timeout + STOP_MARGIN
        self._runner.stop(send_stop_to_client=False)
        self._runner.send_message("quit")
        while len(self._merger.finals) < self._job.workers and time.monotonic() < deadline:
            gevent.sleep(SOON)
        return int(self._job.workers) - len(self._merger.finals)

    def _totals(self) -> list[LoadTotal]:
        return [
            _total(entry, self._merger.unanswered[entry.name])
            for entry in self._environment.stats.entries.values()
        ]


def _total(entry: Any, unanswered: int) -> LoadTotal:
    def percentile(share: float) -> int:
        return round(float(entry.get_response_time_percentile(share)) * NS_PER_MS)

    return LoadTotal(
        name=entry.name,
        requests=entry.num_requests,
        failures=entry.num_failures,
        unanswered=unanswered,
        p50=percentile(0.5),
        p95=percentile(0.95),
        p99=percentile(0.99),
        worst=round((entry.max_response_time or 0.0) * NS_PER_MS),
    )


class _Words:
    """Lines from stdin. Its end stands for every word: whoever could still say one is gone."""

    def __init__(self) -> None:
        make_nonblocking(0)
        self._heard = b""
        self._ended = False

    def __repr__(self) -> str:
        return f"<_Words {self._heard!r}{' ended' if self._ended else ''}>"

    def heard(self, word: str) -> bool:
        try:
            found = os.read(0, 4096)
        except BlockingIOError:
            return self._has(word)
        self._ended = self._ended or not found
        self._heard += found
        return self._has(word)

    def _has(self, word: str) -> bool:
        return self._ended or word.encode() in self._heard.split(b"\n")[:-1]


def _say(message: Said) -> None:
    os.write(1, msgspec.json.encode(message) + b"\n")
