import asyncio
import itertools

import pytest

from harness.history import Complete, Invoke, Probe, ProbeEnd
from harness.probes import EvaluateProbe, ReadProbe, WriteProbe
from harness.probes.read import written_keys
from tests.probes.probe_support import Act, refusing, reply, running, serving, site_for, until


def stored(value, seq):
    return reply(
        {"flag": {"variants": {"v": value}, "defaultVariant": "v"}, "version": 1, "seq": seq}
    )


def test_reads_each_key_that_was_written_once(both_loops):
    async def main():
        def handler(request):
            assert request.method == "GET"
            return stored(7, 40) if request.path.endswith("acme/flags/a") else reply({}, status=404)

        async with serving(handler) as server:
            site, log = site_for(server.port)
            probes = [
                WriteProbe(name="w", keys=("a", "b"), org="acme"),
                WriteProbe(name="x", keys=("a",), org="acme"),
                EvaluateProbe(name="e", keys=("c",)),
            ]
            await site.read_back(probes)
            await site.read_back(probes)
        assert len(server.requests) == 4
        done = {c.key: c for c in log.of(Complete)}
        assert (done["a"].outcome, done["a"].value, done["a"].version) == ("ok", 7, 40)
        missing = done["b"]
        assert (missing.outcome, missing.status, missing.value, missing.version) == (
            "ok",
            404,
            None,
            -1,
        )
        assert len({i.op for i in log.of(Invoke)}) == 4  # unique though read twice
        assert [p.kind for p in log.of(Probe)] == ["read", "read"]
        assert [p.sent for p in log.of(ProbeEnd)] == [2, 2]

    both_loops(main())


def test_keys_that_name_their_organisation_are_read_there(both_loops):
    async def main():
        def handler(request):
            return (
                stored(7, 40) if request.path == "/v1/orgs/umbra/flags/a" else reply({}, status=404)
            )

        async with serving(handler) as server:
            site, log = site_for(server.port)
            await site.read_back([WriteProbe(name="w", keys=("umbra/a", "a"), org="acme")])
        found = {c.key: c.value for c in log.of(Complete)}
        assert found == {"umbra/a": 7, "a": None}
        assert [i.key for i in log.of(Invoke)] == ["umbra/a", "a"]
        assert len(server.requests) == 2

    both_loops(main())


def test_asks_again_until_there_is_an_answer(run):
    turns = itertools.chain(
        [reply({}, status=503), Act.CLOSE, reply(b"nonsense")], itertools.repeat(stored(1, 2))
    )

    async def main():
        async with serving(lambda r: next(turns)) as server:
            site, log = site_for(server.port)
            await site.read_back([WriteProbe(name="w", keys=("a",))], within=8)
        (done,) = log.of(Complete)
        assert (done.outcome, done.value) == ("ok", 1)
        assert [a.error for a in done.attempts] == [
            "SERVICE_UNAVAILABLE",
            "CONNECTION_CLOSED",
            "INVALID",
            "",
        ]

    run(main())


def test_no_answer_until_the_deadline_is_unknown_never_missing(run):
    async def main():
        with refusing() as port:
            site, log = site_for(port)
            await site.read_back([WriteProbe(name="w", keys=("a",))], within=0.2)
        (done,) = log.of(Complete)
        assert (done.outcome, done.error) == ("unknown", "CONNECTION_REFUSED")
        assert len(done.attempts) >= 2

    run(main())


def test_the_probe_reads_when_it_is_told_to_stop(run):
    async def main():
        async with serving(lambda r: stored(3, 4)) as server:
            site, log = site_for(server.port)
            async with running(ReadProbe(name="r", keys=("a",)), site):
                await asyncio.sleep(0)
                assert log.events == []
            await until(lambda: log.of(ProbeEnd, name="r"), lambda: log.events)
        assert log.of(Complete)[0].value == 3

    run(main())


def test_keys_that_are_not_known_beforehand():
    with pytest.raises(ValueError, match="can't be read back"):
        ReadProbe(name="r", keys=("k-{n}",))
    with pytest.raises(ValueError, match="probe w: key 'k-{n}'"):
        written_keys([WriteProbe(name="w", keys=("k-{n}",))])
