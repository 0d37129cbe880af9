import asyncio

import pytest

from harness.errors import SquallError
from harness.history import Clock
from harness.probes.calendar import advance
from harness.target import Target
from tests.probes.probe_support import refusing, reply, serving, site_for

HOUR = 3600 * 10**9


def moved(handler, within=5.0, **more):
    async def main():
        async with serving(handler) as server:
            site, log = site_for(server.port, **more)
            step = await advance(site, ("app", *more), 3600.0, within, 2 * HOUR)
        assert step == HOUR
        (event,) = log.of(Clock)
        return event, server

    return asyncio.run(main())


def test_it_is_moved_once_and_waited_for():
    asked = []

    def handler(request):
        if request.method == "POST":
            assert (request.path, request.body) == ("/clock", b'{"advance_s":3600}')
            return reply({})
        asked.append(request)
        return reply({"settled": len(asked) > 3})

    event, server = moved(handler)
    assert (event.settled, event.seen, event.nodes) == (True, "", ["app"])
    assert (event.by, event.total) == (HOUR, 3 * HOUR)
    assert [r.method for r in server.requests].count("POST") == 1


def test_what_does_not_settle_is_told_with_its_reason():
    event, _ = moved(lambda r: reply({"settled": False, "error": "no disk"}), within=0.1)
    assert (event.settled, event.seen) == (False, "app: not settled: no disk")


@pytest.mark.parametrize("settled", [None, "true", 1])
def test_only_true_is_settled(settled):
    event, _ = moved(lambda r: reply({"settled": settled}), within=0.05)
    assert not event.settled


def test_a_clock_that_was_not_moved_is_told():
    event, _ = moved(lambda r: reply({}, status=404))
    assert (event.settled, event.seen) == (False, "app: its clock was not moved: HTTP_404")


def test_every_node_must_settle():
    with refusing() as dead:
        event, _ = moved(lambda r: reply({"settled": True}), within=0.1, gone=dead)
    assert (event.settled, event.seen) == (
        False,
        "gone: its clock was not moved: CONNECTION_REFUSED",
    )


def test_a_platform_without_a_clock_is_refused():
    async def main():
        site, _ = site_for(1, target=Target(capabilities=("status",)))
        with pytest.raises(SquallError, match="can't do 'clock'"):
            await advance(site, ("app",), 1.0, 1.0, 0)

    asyncio.run(main())
