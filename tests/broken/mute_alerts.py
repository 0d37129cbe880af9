"""PoPs that move to another hub and tell nobody."""

from reference_impl import main as platform
from reference_impl.pop.role import Pop


class MutePop(Pop):
    def __init__(self, config, env):
        super().__init__(config, env)
        self.subscriber._alert = lambda name, data: None


def main(argv):
    platform.main(argv, {**platform.ROLES, "pop": MutePop})
