"""Reading each acknowledged version again."""

import asyncio
import json

from harness.history import Complete, Invoke, Probe, ProbeEnd
from harness.probes import WriteProbe
from harness.probes.versions import digest, read_versions
from harness.probes.write import Receipt
from tests.probes.probe_support import refusing, reply, running, serving, site_for, until


def receipt(position, value=7):
    body = json.dumps({"state": "ENABLED", "variants": {"v": value}, "defaultVariant": "v"})
    return Receipt("acme", "a/b", value, position, body)


def stored(value, **more):
    return {"state": "ENABLED", "variants": {"v": value}, "defaultVariant": "v", **more}


def test_writes_leave_receipts_of_what_was_acknowledged(run):
    positions = iter(range(1, 1000))

    def handler(request):
        position = next(positions)
        return reply({"seq": position}, status=200 if position % 2 else 503)

    async def main():
        async with serving(handler) as server:
            site, log = site_for(server.port)
            async with running(WriteProbe(name="w", rate=100, keys=("a",)), site):
                await until(lambda: len(site.receipts.get("w", [])) >= 3, lambda: site.receipts)
        kept = site.receipts["w"]
        acked = [c for c in log.of(Complete) if c.outcome == "ok"]
        assert [(r.key, r.value, r.position) for r in kept] == [
            (c.key, c.value, c.version) for c in acked
        ]
        assert json.loads(kept[0].body)["variants"]["v"] == kept[0].value

    run(main())


def test_each_is_asked_for_by_its_position(both_loops):
    answers = {
        "3": reply({"version": 3, "flag": stored(7)}),
        "4": reply({"version": 4, "flag": stored(7, targeting={})}),
        "5": reply({"error": "no such version"}, status=404),
    }

    def handler(request):
        assert request.path.startswith("/v1/orgs/acme/flags/a%2Fb/versions/")
        return answers[request.path.rpartition("/")[2]]

    async def main():
        async with serving(handler) as server:
            site, log = site_for(server.port)
            site.receipts["w"] = [receipt(3), receipt(4), receipt(5)]
            await read_versions(site, ("w", "other"), within=8)
        same, other, gone = sorted(log.of(Complete), key=lambda c: c.version)
        assert (same.outcome, same.value, same.status) == ("ok", 7, 200)
        assert same.metadata["written"] == same.metadata["read"]
        assert other.metadata["written"] != other.metadata["read"]
        assert (gone.outcome, gone.status, gone.value) == ("ok", 404, None)
        assert gone.metadata["read"] == ""
        assert {i.value for i in log.of(Invoke)} == {3, 4, 5}
        assert [p.kind for p in log.of(Probe)] == ["version"]
        assert [p.sent for p in log.of(ProbeEnd)] == [3]

    both_loops(main())


def test_no_answer_is_asked_for_again_and_then_unknown(run):
    turns = iter([reply({}, status=503), reply(b"nonsense"), reply({"flag": stored(7)})])

    async def main():
        async with serving(lambda request: next(turns)) as server:
            site, log = site_for(server.port)
            site.receipts["w"] = [receipt(3)]
            await read_versions(site, ("w",), within=8)
        with refusing() as port:
            lost, other = site_for(port)
            lost.receipts["w"] = [receipt(3)]
            await read_versions(lost, ("w",), within=0.2)
        (found,), (unread,) = log.of(Complete), other.of(Complete)
        assert (found.outcome, found.value) == ("ok", 7)
        assert (unread.outcome, unread.error) == ("unknown", "CONNECTION_REFUSED")

    run(asyncio.wait_for(main(), 30))


def test_a_digest_is_of_every_byte_but_white_space():
    assert digest(json.loads('{"a": 1, "b": [true]}')) == digest(json.loads('{"a":1,"b":[true]}'))
    different = ['{"b":[true],"a":1}', '{"a":1.0,"b":[true]}', '{"a":1,"b":[1]}', '{"a":1}']
    assert len({digest(json.loads(text)) for text in different}) == 4
