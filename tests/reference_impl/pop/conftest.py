"""Virtual time: a loop whose clock jumps to the next timer as soon as nothing else is to do."""

import asyncio
import selectors

import pytest


class JumpingSelector(selectors.SelectSelector):
    now = 0.0

    def select(self, timeout=None):
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise AssertionError("deadlock: nothing is scheduled and nothing is ready")
            self.now += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self):
        self.jumping = JumpingSelector()
        super().__init__(self.jumping)

    def time(self):
        return self.jumping.now


@pytest.fixture
def virtual():
    """Run a coroutine in virtual time; minutes pass in milliseconds and every timing is exact."""

    def run(coroutine):
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            return runner.run(coroutine)

    return run
