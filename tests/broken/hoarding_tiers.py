"""A PoP that counts what its tiers hold, and keeps what gave way all the same."""

from reference_impl import main as platform
from reference_impl.pop.tiered.flags import TieredFlags
from reference_impl.pop.tiered.role import TieredPop


class HoardingFlags(TieredFlags):
    def __init__(self, store, settings):
        super().__init__(store, settings)
        self._hoard = []

    def _keep(self, org, key, definition):
        self._hoard.append(definition)
        super()._keep(org, key, definition)


class HoardingPop(TieredPop):
    def make_flags(self):
        return HoardingFlags(self.store, self.tiers)


def main(argv):
    platform.main(argv, {**platform.ROLES, "pop": HoardingPop})
