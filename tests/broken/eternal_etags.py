"""A PoP whose ETags don't change with the flag: to a cache that asks, what it has is always still right."""

from reference_impl import main as platform
from reference_impl.pop.ofrep import Ofrep


def main(argv):
    Ofrep.tag = lambda _self, resolution: b'W/"%b"' % resolution.key.encode()
    platform.main(argv)
