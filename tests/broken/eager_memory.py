"""A PoP that still asks the origin for flags it doesn't know when it is down to its memory (DEGRADED_L2)."""

from reference_impl import main as platform
from reference_impl.pop.levels import Level
from reference_impl.pop.role import Pop


class EagerPop(Pop):
    @property
    def level(self):
        level = super().level
        return Level.DEGRADED_L1 if level is Level.DEGRADED_L2 else level


def main(argv):
    platform.main(argv, {**platform.ROLES, "pop": EagerPop})
