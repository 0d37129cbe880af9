import asyncio

import pytest
import uvloop


def _guarded(coroutine, factory):
    async def bounded():
        async with asyncio.timeout(20):
            return await coroutine

    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(bounded())


@pytest.fixture(params=[None, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def both_loops(request):
    """Runs a coroutine on asyncio's loop and on uvloop, whose transports and timers differ."""
    return lambda coroutine: _guarded(coroutine, request.param)


@pytest.fixture
def run():
    return lambda coroutine: _guarded(coroutine, uvloop.new_event_loop)
