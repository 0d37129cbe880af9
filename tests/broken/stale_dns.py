"""DNS servers that take a change, say so, and go on answering what they answered first."""

from reference_impl import main as platform
from reference_impl.dns.role import Dns


class ForgetfulDns(Dns):
    def __init__(self, config, env):
        super().__init__(config, env)
        self._answered = {}

    def lookup(self, name, group):
        found = super().lookup(name, group)
        return self._answered.setdefault((name, group), found)


def main(argv):
    platform.main(argv, {**platform.ROLES, "dns": ForgetfulDns})
