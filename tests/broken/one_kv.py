"""PoPs that know one replica of the edge KV and no other."""

from reference_impl import main as platform
from reference_impl.kv.replicas import Replicas
from reference_impl.pop.role import Pop


class FaithfulPop(Pop):
    def _redis(self):
        first, *_ = super()._redis()._replicas.items()
        return Replicas(dict([first]), self.settings.kv_timeout / 2)


def main(argv):
    platform.main(argv, {**platform.ROLES, "pop": FaithfulPop})
