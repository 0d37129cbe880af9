"""A backup job that stops after thirty hours and tells nobody: by its own word all is well."""

from reference_impl import main as platform
from reference_impl.backup import role
from reference_impl.backup.snapshots import Snapshots

LAST = 30  # slots


class TiredSnapshots(Snapshots):
    _first = None

    def _plan(self):
        slot = self.schedules["hourly"].slot(self._clock.now())
        self._first = self._first or slot
        if slot <= self._first + LAST:
            super()._plan()

    def _overdue(self):
        pass


def main(argv):
    role.Snapshots = TiredSnapshots
    platform.main(argv)
