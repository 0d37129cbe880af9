"""PoPs that ask for a name once and keep the answer for ever, whatever its TTL says."""

from reference_impl import main as platform
from reference_impl.dns.resolver import Resolver
from reference_impl.pop import role


class StubbornResolver(Resolver):
    def lifetime(self, answer):
        return 1e9


def main(argv):
    role.Resolver = StubbornResolver
    platform.main(argv)
