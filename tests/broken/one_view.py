"""DNS servers that answer everybody alike, wherever they ask from."""

from reference_impl import main as platform
from reference_impl.dns.role import Dns


class Blind(Dns):
    def lookup(self, name, group):
        return super().lookup(name, "")


def main(argv):
    platform.main(argv, {**platform.ROLES, "dns": Blind})
