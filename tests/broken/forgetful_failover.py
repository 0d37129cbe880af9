"""A controller that keeps in memory what it has done: when it starts again it begins anew."""

from reference_impl import main as platform
from reference_impl.failover.role import Failover


class ForgetfulFailover(Failover):
    def __init__(self, config, env):
        super().__init__(config, env)
        self.journal.load = lambda: None


def main(argv):
    platform.main(argv, {**platform.ROLES, "failover": ForgetfulFailover})
