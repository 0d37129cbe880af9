"""One of locust's workers: it sends, counts by the second of the monotonic clock, and reports to its master."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import gevent
import locust.env
import locust.runners
import msgspec

from harness.load.counting import Tally
from harness.load.shaped import Shaped
from harness.load.users import USERS

if TYPE_CHECKING:
    from harness.load.job import Job

REPORT_EACH = 1.0  # s
WATCH_EACH = 0.1  # s
STOP_MARGIN = 1.0  # s beyond a request's timeout
LINGER = 0.5  # s for the last report to leave


def environment_of(job: Job) -> Any:
    """Locust's environment, the same in the master and in its workers."""
    base = USERS[job.kind]
    user: Any = type(base.__name__, (base,), {"given": job, "host": job.host})
    shape = Shaped()  # type: ignore[no-untyped-call]
    shape.shape, shape.users, shape.spawn = job.shape, job.users, job.spawn
    return locust.env.Environment(
        user_classes=[user],
        shape_class=shape,
        host=job.host,
        events=locust.events,
        stop_timeout=job.timeout + STOP_MARGIN,
    )


def run(job: Job, host: str, port: int) -> None:
    """Until the master says that it is over."""
    locust.runners.WORKER_REPORT_INTERVAL = REPORT_EACH
    environment, tally = environment_of(job), Tally()
    _listen(environment, tally)
    runner = environment.create_worker_runner(host, port)
    gevent.spawn(_watch, tally)
    runner.greenlet.join()
    gevent.sleep(LINGER)


def _listen(environment: Any, tally: Tally) -> None:
    def answered(name: str, response_time: float, exception: Any, **more: Any) -> None:
        failed = exception is not None
        silent = failed and not getattr(more.get("response"), "status_code", 0)
        second = int(time.monotonic())
        tally.answered(second, name, response_time * 1000, failed=failed, silent=silent)

    def reported(data: dict[str, Any], **_: Any) -> None:
        data["squall"] = msgspec.json.encode(tally.take())

    def stopped(**_: Any) -> None:
        tally.final = True

    def begun(**_: Any) -> None:
        environment.squall_begun = time.monotonic()

    environment.events.request.add_listener(answered)
    environment.events.report_to_master.add_listener(reported)
    environment.events.test_stop.add_listener(stopped)
    environment.events.test_start.add_listener(begun)


def _watch(tally: Tally) -> None:
    """How late this process's own loop is: that much too long are the latencies that it measures."""
    while True:
        due = time.monotonic() + WATCH_EACH
        gevent.sleep(WATCH_EACH)
        now = time.monotonic()
        tally.late(int(now), round(max(0.0, now - due) * 1e9))
