"""A PoP that degrades and does not say so: its answers look the same at every level."""

from reference_impl import main as platform
from reference_impl.pop import ofrep


def main(argv):
    ofrep.level_metadata = lambda _level: {}
    platform.main(argv)
