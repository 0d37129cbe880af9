"""A PoP that never replaces a worker that has died."""

import time

from reference_impl import crew
from reference_impl import main as platform

NEVER = 3600.0  # s


def ended(self, index):
    self.crew.left(index)
    self._due[index] = time.monotonic() + NEVER


def main(argv):
    crew.Keeper.ended = ended
    platform.main(argv)
