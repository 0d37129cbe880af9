"""A hub that leaves out what a slow subscriber could not take in time, and tells nobody."""

from reference_impl import main as platform
from reference_impl.hub import role
from reference_impl.propagation import fanout

FEW = 3  # changes


class DroppingFanOut(fanout.FanOut):
    def _next(self, subscription):
        if subscription.at != fanout.NOTHING and self.store.seq - subscription.at > FEW:
            subscription.at = self.store.seq - 1
        return super()._next(subscription)


def main(argv):
    role.FanOut = DroppingFanOut
    platform.main(argv)
