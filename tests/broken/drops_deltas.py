"""A PoP that takes every hundredth change for done without doing it, and passes nothing on."""

from reference_impl import main as platform
from reference_impl.pop.role import Pop
from reference_impl.propagation.store import Store


class ForgetfulStore(Store):
    def apply(self, change):
        if change.seq % 100 == 0 and change.seq == self.seq + 1:
            self.seq = change.seq
            return True
        return super().apply(change)


class ForgetfulPop(Pop):
    def make_store(self):
        return ForgetfulStore(self.settings.ring)


def main(argv):
    platform.main(argv, {**platform.ROLES, "pop": ForgetfulPop})
