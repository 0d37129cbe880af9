"""An anycast that announces the nearest PoP for ever and knows no other way: dead or alive, users are sent there."""

from reference_impl import main as platform
from reference_impl.anycast.role import Anycast


class StubbornAnycast(Anycast):
    def _choose(self, source):
        return list(super()._choose(source))[:1]


def main(argv):
    platform.main(argv, {**platform.ROLES, "anycast": StubbornAnycast})
