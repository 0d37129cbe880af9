"""A PoP in whose memory the organisation that was used last takes the place of the others."""

from reference_impl import main as platform
from reference_impl.pop.tiered.flags import TieredFlags
from reference_impl.pop.tiered.role import TieredPop
from reference_impl.pop.tiered.shares import Shares


class Unfair(Shares):
    def _gives_way(self):
        return next(iter(self._orgs))


class UnfairFlags(TieredFlags):
    def __init__(self, store, settings):
        super().__init__(store, settings)
        self.definitions = Unfair(self.definitions.limit, settings.idle)
        self.compiled = Unfair(self.compiled.limit, settings.idle)


class UnfairPop(TieredPop):
    def make_flags(self):
        return UnfairFlags(self.store, self.tiers)


def main(argv):
    platform.main(argv, {**platform.ROLES, "pop": UnfairPop})
