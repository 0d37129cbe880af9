from harness.history import Note, ProbeEnd, Recommendation
from harness.probes import RecommendationsProbe
from tests.probes.probe_support import reply, running, serving, site_for, until


def entry(site, n, state="raised"):
    return {
        "n": n,
        "at": site.origin_ns + n * 1000,
        "kind": "add_hub",
        "node": "hub-1",
        "metric": "pops",
        "value": 60,
        "threshold": 50.0,
        "state": state,
    }


def test_each_entry_once(both_loops):
    async def main():
        entries = []

        def handler(request):
            since = int(request.path.removeprefix("/recommendations?since="))
            # A feed that repeats itself: what is known already must not be recorded twice.
            return reply({"recommendations": [e for e in entries if e["n"] >= since]})

        async with serving(handler) as server:
            site, log = site_for(server.port)
            entries.append(entry(site, 1))
            async with running(RecommendationsProbe(node="app", interval=0.02), site):
                await until(lambda: log.of(Recommendation), lambda: log.events)
                entries.append(entry(site, 2, "withdrawn"))
                await until(lambda: len(log.of(Recommendation)) == 2, lambda: log.events)
        first, second = log.of(Recommendation)
        assert (first.n, first.t, first.kind, first.node) == (1, 1000, "add_hub", "hub-1")
        assert (first.metric, first.value, first.threshold) == ("pops", 60.0, 50.0)
        assert (first.state, second.state) == ("raised", "withdrawn")
        assert log.of(ProbeEnd)[0].sent == len(server.requests)

    both_loops(main())


def test_what_is_no_feed_is_noted(run):
    async def main():
        async with serving(lambda _: reply({"recommendations": [{"n": 1}]})) as server:
            site, log = site_for(server.port)
            async with running(RecommendationsProbe(node="app", interval=0.01), site):
                await until(lambda: len(server.requests) >= 3, lambda: server.requests)
        assert [n.text for n in log.of(Note)] == ["feed: INVALID"]
        assert log.of(Recommendation) == []

    run(main())
