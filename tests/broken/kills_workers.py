"""A PoP that ends a worker it wants no more as it stands: with what it answers, and with what waits at its door."""

import os
from functools import partial

from reference_impl import main as platform
from reference_impl.pop.shared.crew import pop_crew
from reference_impl.pop.shared.doors import Doors
from reference_impl.pop.shared.worker import Worker

open_doors = Doors.open


def only_more(self, workers):
    """Nobody closes the door behind one who has left."""
    self.most = max(workers, getattr(self, "most", 0))
    open_doors(self, self.most)


class KilledWorker(Worker):
    async def leave(self):
        os._exit(0)


def main(argv):
    Doors.open = only_more
    platform.main(argv, crews={"pop": partial(pop_crew, worker=KilledWorker)})
