import itertools
import json

import msgspec
import pytest

from harness.errors import RuntimeFailure
from harness.history import Attempt, Complete, Invoke, Note, Probe, ProbeEnd
from harness.probes import WriteProbe, flag_definition, targeted_flag
from harness.probes.schedule import Firing
from harness.probes.write import _Writing, filled_keys, made_up, split_key
from reference_impl.evaluation import compile_flag
from tests.probes.probe_support import Act, refusing, reply, running, serving, site_for, until


async def record(handler, probe, *, count=3):
    async with serving(handler) as server:
        site, log = site_for(server.port)
        async with running(probe, site):
            await until(lambda: len(log.of(Complete)) >= count, lambda: log.events[-3:])
    return log, server


def test_values_rise_and_acknowledged_writes_carry_their_position(both_loops):
    def handler(request):
        return reply({"seq": 90 + json.loads(request.body)["variants"]["v"]})

    probe = WriteProbe(name="w", keys=("a", "b"), org="acme", rate=200, first=10)
    log, server = both_loops(record(handler, probe, count=4))
    assert log.of(Probe)[0].kind == "write"
    requests = {json.loads(r.body)["variants"]["v"]: r for r in server.requests}
    assert requests[10].method == "PUT"
    assert requests[10].path == "/v1/orgs/acme/flags/a"
    assert requests[11].path == "/v1/orgs/acme/flags/b"
    assert json.loads(requests[10].body) == {
        "state": "ENABLED",
        "variants": {"v": 10},
        "defaultVariant": "v",
    }
    assert [i.value for i in log.of(Invoke)] == list(range(10, 10 + len(log.of(Invoke))))
    done = log.of(Complete, op=0)[0]
    assert (done.outcome, done.value, done.version, done.key) == ("ok", 10, 100, "a")
    assert log.of(ProbeEnd)[0].sent == len(server.requests)


def test_keys_can_name_their_organisation(both_loops):
    probe = WriteProbe(name="w", keys=("umbra/a", "b", "o{n}/c"), org="acme", rate=200)
    log, server = both_loops(record(lambda _: reply({"seq": 1}), probe))
    paths = {request.path for request in server.requests}
    assert {"/v1/orgs/umbra/flags/a", "/v1/orgs/acme/flags/b", "/v1/orgs/o2/flags/c"} <= paths
    assert [i.key for i in log.of(Invoke)][:3] == ["umbra/a", "b", "o2/c"]
    assert log.of(Complete, op=0)[0].key == "umbra/a"


@pytest.mark.parametrize(
    ("answer", "outcome", "error"),
    [
        (Act.HANG, "unknown", "TIMEOUT"),
        (Act.RESET, "unknown", "CONNECTION_RESET"),
        (Act.CLOSE, "unknown", "CONNECTION_CLOSED"),
        (reply({}, status=503), "unknown", "SERVICE_UNAVAILABLE"),
        (reply({}, status=500), "unknown", "HTTP_500"),
        (reply({}, status=408), "unknown", "HTTP_408"),
        (reply({}, status=403), "fail", "HTTP_403"),
        (reply({}, status=429), "fail", "HTTP_429"),
        (reply(b"<html>"), "unknown", "INVALID"),
        (reply({"seq": True}), "unknown", "INVALID"),
        (reply({"ok": 1}), "unknown", "INVALID"),
    ],
    ids=str,
)
def test_only_what_is_certain_is_called_so_and_nothing_is_tried_again(run, answer, outcome, error):
    log, server = run(
        record(
            lambda r: answer,
            WriteProbe(name="w", rate=50, timeout=0.15 if answer is Act.HANG else 5.0),
            count=2,
        )
    )
    assert {(c.outcome, c.error, c.version) for c in log.of(Complete)} == {(outcome, error, -1)}
    bodies = [r.body for r in server.requests]
    assert len(set(bodies)) == len(bodies) == len(log.of(Invoke))


def test_refused_is_certainly_not_done(run):
    async def main():
        with refusing() as port:
            site, log = site_for(port)
            async with running(WriteProbe(name="w", rate=100), site):
                await until(lambda: len(log.of(Complete)) >= 2, lambda: log.events)
        ends = {(c.outcome, c.error) for c in log.of(Complete)}
        assert ends == {("fail", "CONNECTION_REFUSED")}

    run(main())


def test_seeds_are_tried_again_until_acknowledged(run):
    async def main():
        stored, tries = {}, itertools.count()

        def handler(request):
            if next(tries) < 3:
                return reply({}, status=503)
            stored[request.path] = json.loads(request.body)
            return reply({"seq": len(stored)})

        async with serving(handler) as server:
            site, log = site_for(server.port)
            highest = await site.write_flags(
                {
                    "plain": True,
                    "other/text": "blue",
                    "whole": targeted_flag("plan", "pro", 1, 2),
                },
                org="acme",
            )
        assert highest == 3
        assert stored["/v1/orgs/acme/flags/plain"]["defaultVariant"] == "on"
        assert stored["/v1/orgs/other/flags/text"]["variants"] == {"v": "blue"}
        assert stored["/v1/orgs/acme/flags/whole"]["targeting"]["if"][1:] == ["match", "other"]
        assert log.of(Note)[0].text == "3 flags up to log position 3"

    run(main())


def test_seeds_give_up_at_the_deadline_or_at_a_refusal_and_say_what_was_seen(run):
    async def write(answer):
        async with serving(lambda r: answer) as server:
            site, _ = site_for(server.port)
            await site.write_flags({"k": 1}, within=0.2)

    with pytest.raises(RuntimeFailure, match="flag default/k .* last seen: SERVICE_UNAVAILABLE"):
        run(write(reply({}, status=503)))
    with pytest.raises(RuntimeFailure, match='last seen: HTTP_400 {"error": "bad"}'):
        run(write(reply({"error": "bad"}, status=400)))


def test_no_flags_ask_nothing(run):
    async def main():
        site, log = site_for(1)
        assert await site.write_flags({}) == -1
        assert log.events == []

    run(main())


def test_definitions():
    assert flag_definition(False)["defaultVariant"] == "off"
    assert flag_definition(3)["variants"] == {"v": 3}
    assert flag_definition({"a": 1})["variants"] == {"v": {"a": 1}}
    whole = {"state": "DISABLED", "variants": {}, "defaultVariant": "x"}
    assert flag_definition(whole) is whole
    assert flag_definition(True, {"if": []})["variants"] == {"on": True, "off": False}
    assert flag_definition(True, {"fractional": 1})["targeting"] == {"fractional": 1}
    assert split_key("k", "default") == ("default", "k")
    assert split_key("acme/k", "default") == ("acme", "k")


def test_a_write_that_still_waits_at_the_end_is_unknown(run):
    async def main():
        site, log = site_for(1)
        async with site.client("app") as client:
            _Writing(WriteProbe(name="w", keys=("k",)), site, client).abandon(Firing(4, 1, 2))
        (done,) = log.of(Complete)
        assert (done.op, done.outcome, done.error, done.value) == (4, "unknown", "TIMEOUT", 5)
        assert done.attempts == [Attempt(2, done.t, "TIMEOUT")]

    run(main())


def test_made_up_flags_have_their_size_and_are_good():
    made = made_up(3, 5000)
    assert tuple(made) == filled_keys(3) == ("fill-000000", "fill-000001", "fill-000002")
    sizes = [len(msgspec.json.encode(flag)) for flag in made.values()]
    assert all(4990 <= size <= 5000 for size in sizes), sizes
    assert made == made_up(3, 5000)
    assert len({flag["variants"]["match"] for flag in made.values()}) == 3
    compile_flag("x", made["fill-000000"])
