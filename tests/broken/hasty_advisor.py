"""An advisor that recommends at half of each threshold, and says the whole one."""

from reference_impl import main as platform
from reference_impl.capacity import thresholds


class HastyWatch(thresholds.Watch):
    def _turns(self, value):
        return super()._turns(value if self.raised else value * 2)


def main(argv):
    thresholds.Watch = HastyWatch
    platform.main(argv)
