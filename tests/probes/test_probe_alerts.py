from harness.history import Alert, Note, ProbeEnd
from harness.probes import AlertProbe
from tests.probes.probe_support import reply, running, serving, site_for, until


def test_each_alert_once_also_one_that_came_at_the_very_end(both_loops):
    async def main():
        alerts = []

        def add(name):
            at = site.origin_ns + len(alerts) + 100
            alerts.append(
                {"n": len(alerts) + 1, "at": at, "name": name, "sender": "hub", "data": {"a": 1}}
            )

        def handler(request):
            since = int(request.path.removeprefix("/alerts?since="))
            # A sink that repeats itself: what is known already must not be recorded twice.
            return reply({"alerts": [a for a in alerts if a["n"] >= since]})

        async with serving(handler) as server:
            site, log = site_for(server.port)
            add("HUB_FAILOVER")
            async with running(AlertProbe(interval=0.02), site):
                await until(lambda: log.of(Alert), lambda: log.events)
                add("ORIGIN_FAILOVER")
                await until(lambda: len(log.of(Alert)) == 2, lambda: log.events)
                asked = len(server.requests)
                await until(lambda: len(server.requests) > asked + 1, lambda: server.requests)
                add("AT_THE_END")
        assert [(a.name, a.t) for a in log.of(Alert)] == [
            ("HUB_FAILOVER", 100),
            ("ORIGIN_FAILOVER", 101),
            ("AT_THE_END", 102),
        ]
        assert (log.of(Alert)[0].sender, log.of(Alert)[0].data) == ("hub", {"a": 1})
        assert log.of(ProbeEnd)[0].sent == len(server.requests)

    both_loops(main())


def test_a_sink_that_does_not_answer_is_noted_once_each_way(run):
    async def main():
        broken = [True]

        def handler(request):
            return reply(b"?") if broken[0] else reply({"alerts": []})

        async with serving(handler) as server:
            site, log = site_for(server.port)
            async with running(AlertProbe(interval=0.01), site):
                await until(lambda: len(server.requests) >= 3, lambda: server.requests)
                broken[0] = False
                asked = len(server.requests)
                await until(lambda: len(server.requests) >= asked + 3, lambda: server.requests)
        assert [n.text for n in log.of(Note)] == ["alert sink: INVALID", "alert sink answers again"]

    run(main())
