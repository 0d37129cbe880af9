"""A PoP that never replaces a worker that has died."""

from reference_impl import crew
from reference_impl import main as platform


def main(argv):
    crew.Keeper.ended = lambda self, index: self.crew.left(index)
    platform.main(argv)
