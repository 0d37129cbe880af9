"""A PoP for which a flag that is not in memory doesn't exist."""

from reference_impl import main as platform
from reference_impl.pop.tiered.role import TieredPop


class LosingPop(TieredPop):
    async def load(self, org, key):
        return None if self.cold(org, key) else await super().load(org, key)


def main(argv):
    platform.main(argv, {**platform.ROLES, "pop": LosingPop})
