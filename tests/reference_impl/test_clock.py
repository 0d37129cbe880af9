"""The platform's calendar: moved by HTTP, forward only, and what became due is known by the answer."""

import asyncio

import aiohttp
import pytest

from reference_impl.clock import PlatformClock, stamp
from reference_impl.web import Site

AT = 1_764_000_000_123_000_000


def on_site(test):
    async def main():
        clock, moves = PlatformClock(lambda: AT), []
        site = Site(dict, lambda: None)
        clock.serve(site, lambda: moves.append(clock.now()))
        await site.start("127.0.0.1", 0)
        async with aiohttp.ClientSession(f"http://127.0.0.1:{site.port}") as session:
            await test(clock, moves, session)
        await site.stop()

    asyncio.run(main())


def test_it_is_moved_and_who_depends_on_it_knows():
    async def test(clock, moves, session):
        async with session.post("/clock", data=b'{"advance_s": 3600.5}') as answer:
            assert answer.status == 200
            assert await answer.json() == {"now": "20251124T170000.623Z", "offset_s": 3600.5}
        assert moves == [AT + 3_600_500_000_000]
        async with session.post("/clock", data=b'{"advance_s": 1}') as answer:
            assert (await answer.json())["offset_s"] == 3601.5
        assert clock.now() == AT + 3_601_500_000_000

    on_site(test)


@pytest.mark.parametrize("body", [b"", b"{}", b'{"advance_s": -1}', b'{"advance_s": "1h"}'])
def test_what_is_no_step_forward_is_refused(body):
    async def test(clock, moves, session):
        async with session.post("/clock", data=body) as answer:
            assert answer.status == 400
        assert (clock.offset, moves) == (0, [])

    on_site(test)


def test_a_stamp_sorts_as_time_does():
    assert stamp(0) == "19700101T000000.000Z"
    assert stamp(AT) < stamp(AT + 1_000_000) < stamp(AT + 10**9)
