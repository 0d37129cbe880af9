"""A PoP of which one worker looks at the store only now and then: what it shows is older than what the others do."""

import asyncio
from functools import partial

from reference_impl import main as platform
from reference_impl.pop.shared.crew import pop_crew
from reference_impl.pop.shared.hot import HotFlags
from reference_impl.pop.shared.worker import Worker

EACH = 0.4  # s


class LateFlags(HotFlags):
    _next = 0.0

    def pin(self):
        now = asyncio.get_running_loop().time()
        if now >= self._next:
            self._next = now + EACH
            super().pin()


class LateWorker(Worker):
    def make_flags(self, arena, limit):
        return (LateFlags if self.index == 1 else HotFlags)(arena, self.index + 1, limit)


def main(argv):
    platform.main(argv, crews={"pop": partial(pop_crew, worker=LateWorker)})
