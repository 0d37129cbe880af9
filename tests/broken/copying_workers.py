"""A PoP whose workers answer from the shared store, and each keeps a copy of all flags for itself."""

from functools import partial

from reference_impl import main as platform
from reference_impl.pop.shared.crew import pop_crew
from reference_impl.pop.shared.hot import HotFlags
from reference_impl.pop.shared.worker import Worker


class OwnCopy(HotFlags):
    def __init__(self, arena, reader, limit):
        super().__init__(arena, reader, limit)
        self._own = {}

    def _move(self):
        super()._move()
        for org in self._reader.organisations(self.root):
            for key, version in self._reader.of(self.root, org):
                identity = self._reader.identity(version)
                if self._own.get((org, key), (None,))[0] != identity:
                    self._own[org, key] = (identity, self._reader.read(version).data)


class CopyingWorker(Worker):
    def make_flags(self, arena, limit):
        return OwnCopy(arena, self.index + 1, limit)


def main(argv):
    platform.main(argv, crews={"pop": partial(pop_crew, worker=CopyingWorker)})
