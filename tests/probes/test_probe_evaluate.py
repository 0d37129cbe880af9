import asyncio
import json

import pytest

from harness.errors import SquallError
from harness.history import Attempt, Complete, Invoke, Probe, ProbeEnd
from harness.probes import EvaluateProbe
from harness.probes.evaluate import _Evaluating
from harness.probes.schedule import Firing
from harness.target import Evaluate, Target
from tests.probes.probe_support import (
    GROUP_SOURCE,
    Act,
    refusing,
    reply,
    running,
    serving,
    site_for,
    until,
)

ANSWER = {
    "key": "dark-mode",
    "value": True,
    "variant": "on",
    "reason": "TARGETING_MATCH",
    "metadata": {"node": "pop-us", "level": "DEGRADED_L1", "version": 12, "flag_version": 9},
}


async def record(handler, probe, *, count=3, target=None):
    """The log of `probe` against a server, ended after at least `count` completions."""
    async with serving(handler) as server:
        site, log = site_for(server.port, target=target)
        async with running(probe, site):
            await until(lambda: len(log.of(Complete)) >= count, lambda: log.events[-3:])
    return log, server


def test_requests_and_answers_as_the_contract_says(both_loops):
    answer = ANSWER | {"metadata": ANSWER["metadata"] | {"stale_warning": True}}
    probe = EvaluateProbe(
        name="users",
        group="europe",
        keys=("dark-mode", "a/b"),
        org="acme",
        rate=400,
        users=2,
        context={"plan": "pro"},
    )
    log, server = both_loops(record(lambda r: reply(answer), probe, count=4))
    (start,) = log.of(Probe)
    assert (start.kind, start.interval, start.target, start.group) == (
        "evaluate",
        2_500_000,
        "app",
        "europe",
    )
    assert start.budget == 50_000_000
    # Requests on different connections may arrive in another order than they were sent.
    request = next(r for r in server.requests if r.path.endswith("dark-mode"))
    assert (request.method, request.path) == ("POST", "/ofrep/v1/evaluate/flags/dark-mode")
    assert request.headers["x-org-id"] == "acme"
    assert request.peer == GROUP_SOURCE
    assert json.loads(request.body) == {"context": {"targetingKey": "user-0", "plan": "pro"}}
    other = next(r for r in server.requests if r is not request and r.path != request.path)
    assert other.path.endswith("/a%2Fb")
    assert json.loads(other.body)["context"]["targetingKey"] == "user-1"
    assert [i.value for i in log.of(Invoke)][:4] == ["user-0", "user-1", "user-0", "user-1"]

    done = log.of(Complete, op=0)[0]
    assert (done.outcome, done.error, done.status, done.key) == ("ok", "", 200, "dark-mode")
    assert (done.value, done.variant, done.reason) == (True, "on", "TARGETING_MATCH")
    assert (done.node, done.level, done.version) == ("pop-us", "DEGRADED_L1", 12)
    assert (done.stale, done.emergency) == (True, False)
    assert done.metadata["flag_version"] == 9
    assert [a.error for a in done.attempts] == [""]


def test_every_invoke_comes_before_its_complete_and_the_end_counts_them(run):
    log, server = run(record(lambda r: reply(ANSWER), EvaluateProbe(name="p", rate=500), count=20))
    events = log.events
    assert isinstance(events[0], Probe)
    assert isinstance(events[-1], ProbeEnd)
    where = {(type(e), e.op): i for i, e in enumerate(events) if isinstance(e, Invoke | Complete)}
    invokes, completes = log.of(Invoke), log.of(Complete)
    assert {i.op for i in invokes} == {c.op for c in completes} == set(range(len(invokes)))
    assert all(where[Invoke, i.op] < where[Complete, i.op] for i in invokes)
    assert all(i.due <= i.t for i in invokes)
    assert (events[-1].sent, events[-1].skipped) == (len(invokes), 0)
    assert events[-1].latest == max(i.t - i.due for i in invokes)
    assert len(server.requests) == len(invokes)


def test_the_flags_of_a_fill_step_are_asked_for_in_turn(run):
    probe = EvaluateProbe(name="users", filled=3, rate=400)
    log, _ = run(record(lambda r: reply(ANSWER), probe, count=4))
    keys = [each.key for each in log.of(Invoke)]
    assert keys[:4] == ["fill-000000", "fill-000001", "fill-000002", "fill-000000"]
    with pytest.raises(ValueError, match="filled"):
        EvaluateProbe(name="users", filled=-1)


def test_a_server_that_stalls_does_not_slow_the_schedule(run):
    async def main():
        release = asyncio.Event()

        async def stalled(request):
            await release.wait()
            return reply(ANSWER)

        async with serving(stalled) as server:
            site, log = site_for(server.port)
            async with running(EvaluateProbe(name="p", rate=200, timeout=5.0), site):
                await until(lambda: len(server.requests) >= 30, lambda: len(server.requests))
                assert log.of(Complete) == []
                release.set()
        dues = [i.due for i in log.of(Invoke)]
        assert dues == [dues[0] + n * 5_000_000 for n in range(len(dues))]
        assert {c.outcome for c in log.of(Complete)} == {"ok"}

    run(main())


def test_the_clients_own_retry_is_on_a_new_connection_and_recorded(run):
    turns = iter([reply(ANSWER), Act.RESET])
    log, server = run(
        record(lambda r: next(turns, reply(ANSWER)), EvaluateProbe(name="p", rate=5), count=2)
    )
    retried = next(c for c in log.of(Complete) if c.op == 1)
    assert retried.outcome == "ok"
    assert [a.error for a in retried.attempts] == ["CONNECTION_RESET", ""]
    first, second = retried.attempts
    assert first.start <= first.end <= second.start <= second.end == retried.t
    assert [r.connection for r in server.requests][:3] == [1, 1, 2]


def test_a_retry_may_wait_but_not_after_it_has_waited(run):
    def gap(act, timeout):
        turns = iter([act])
        probe = EvaluateProbe(name="p", rate=5, timeout=timeout, pause=0.2)
        log, _ = run(record(lambda r: next(turns, reply(ANSWER)), probe, count=4))
        (first, second) = next(c.attempts for c in log.of(Complete) if len(c.attempts) > 1)
        return (second.start - first.end) / 1e9

    assert gap(Act.RESET, 1.0) >= 0.19
    assert gap(Act.HANG, 0.3) < 0.19


@pytest.mark.parametrize(
    ("answer", "error", "attempts"),
    [
        (Act.HANG, "TIMEOUT", 2),
        (Act.CLOSE, "CONNECTION_CLOSED", 2),
        (reply({}, status=503), "SERVICE_UNAVAILABLE", 2),
        (reply({}, status=502), "HTTP_502", 2),
        (reply({}, status=500), "HTTP_500", 1),
        (reply({}, status=429), "HTTP_429", 1),
        (reply(b"{not json"), "INVALID", 1),
        (reply([1]), "INVALID", 1),
        (reply(ANSWER | {"value": "yes"}), "INVALID", 1),
        (reply({k: v for k, v in ANSWER.items() if k != "value"}), "INVALID", 1),
    ],
    ids=str,
)
def test_failures(run, answer, error, attempts):
    # Only what hangs is to meet its timeout, however busy the machine.
    timeout = 0.15 if answer is Act.HANG else 5.0
    probe = EvaluateProbe(name="p", rate=100, timeout=timeout, expect="boolean")
    log, _ = run(record(lambda r: answer, probe, count=1))
    done = log.of(Complete)[0]
    assert (done.outcome, done.error, len(done.attempts)) == ("fail", error, attempts)


def test_an_error_answer_still_says_who_gave_it_and_why(run):
    body = {"key": "x", "errorCode": "FLAG_NOT_FOUND", "metadata": {"node": "pop-eu", "version": 3}}
    log, _ = run(record(lambda r: reply(body, status=404), EvaluateProbe(name="p", rate=100)))
    done = log.of(Complete)[0]
    assert (done.outcome, done.error, done.status) == ("fail", "HTTP_404", 404)
    assert (done.node, done.version, done.reason) == ("pop-eu", 3, "FLAG_NOT_FOUND")


def test_integers_are_not_booleans(run):
    one = reply(ANSWER | {"value": 1})
    log, _ = run(record(lambda r: one, EvaluateProbe(name="p", rate=100, expect="integer")))
    assert {c.outcome for c in log.of(Complete)} == {"ok"}
    true = reply(ANSWER)
    log, _ = run(record(lambda r: true, EvaluateProbe(name="p", rate=100, expect="integer")))
    assert {c.error for c in log.of(Complete)} == {"INVALID"}


def test_refused_without_retry(run):
    async def main():
        with refusing() as port:
            site, log = site_for(port)
            async with running(EvaluateProbe(name="p", rate=100, retries=0), site):
                await until(lambda: len(log.of(Complete)) >= 3, lambda: log.events)
        assert {(c.error, len(c.attempts)) for c in log.of(Complete)} == {("CONNECTION_REFUSED", 1)}

    run(main())


def test_what_is_abandoned_at_the_end_is_unknown(run):
    async def main():
        site, log = site_for(1)
        async with site.client("app") as client:
            _Evaluating(EvaluateProbe(name="p", keys=("k",)), site, client).abandon(Firing(4, 1, 2))
        (done,) = log.of(Complete)
        assert (done.op, done.key, done.outcome, done.error) == (4, "k", "unknown", "TIMEOUT")
        assert done.attempts == [Attempt(2, done.t, "TIMEOUT")]

    run(main())


def test_requests_in_flight_at_the_end_are_waited_for(run):
    async def main():
        async with serving(lambda r: Act.HANG) as server:
            site, log = site_for(server.port)
            probe = EvaluateProbe(name="p", rate=100, timeout=0.3, retries=0)
            async with running(probe, site):
                await until(lambda: len(server.requests) >= 2, lambda: server.requests)
        assert {(c.outcome, c.error) for c in log.of(Complete)} == {("fail", "TIMEOUT")}
        assert len(log.of(Complete)) == len(log.of(Invoke))

    run(main())


def test_a_new_key_at_each_request(run):
    probe = EvaluateProbe(name="p", rate=200, keys=("cold-{n}", "warm"))
    log, server = run(record(lambda r: reply(ANSWER), probe, count=4))
    keys = [i.key for i in log.of(Invoke)][:4]
    assert keys == ["cold-0", "warm", "cold-2", "warm"]
    assert [c.key for c in sorted(log.of(Complete), key=lambda c: c.op)][:4] == keys


def test_fresh_connections(run):
    probe = EvaluateProbe(name="p", rate=100, keep_alive=False)
    _, server = run(record(lambda r: reply(ANSWER), probe))
    assert server.connections == len(server.requests)


def test_a_platform_of_another_shape(run):
    target = Target(
        name="other",
        evaluate=Evaluate(
            method="GET",
            path="/eval/{org}/{key}?u={user}",
            headers={"Authorization": "token-{org}"},
            body="",
            value="result.0.on",
            version="rev",
            node="",
            metadata="",
        ),
    )
    answer = reply({"result": [{"on": False}], "rev": 7})
    probe = EvaluateProbe(name="p", keys=("k",), org="acme", rate=100, expect="boolean")
    log, server = run(record(lambda r: answer, probe, target=target))
    assert "/eval/acme/k?u=user-0" in [r.path for r in server.requests]
    assert server.requests[0].headers["authorization"] == "token-acme"
    done = log.of(Complete)[0]
    assert (done.outcome, done.value, done.version, done.node) == ("ok", False, 7, "")


def test_what_can_not_be_measured_is_said_at_once(run):
    async def start(probe, target=None):
        site, _ = site_for(1, target=target)
        await probe.run(site, asyncio.Event())

    with pytest.raises(SquallError, match="no client group 'mars' \\(groups: europe\\)"):
        run(start(EvaluateProbe(name="p", group="mars")))
    with pytest.raises(SquallError, match="no node 'x'"):
        run(start(EvaluateProbe(name="p", node="x")))
    with pytest.raises(SquallError, match="can't do 'evaluate'"):
        run(start(EvaluateProbe(name="p"), Target(capabilities=("write",))))
    with pytest.raises(ValueError, match="rate"):
        EvaluateProbe(name="p", rate=-1)
    with pytest.raises(ValueError, match="keys"):
        EvaluateProbe(name="p", keys=())
