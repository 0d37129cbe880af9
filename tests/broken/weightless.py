"""An anycast that takes weights, says so, and sends everybody to the nearest PoP all the same."""

from reference_impl import main as platform
from reference_impl.anycast.weights import Weights


def main(argv):
    Weights.order = lambda self, flow, names, now: list(names)
    platform.main(argv)
