"""API servers that never tell the cache of a change: it shows the old value until its time is over."""

from reference_impl import main as platform
from reference_impl.api import role
from reference_impl.cache.reads import CachedReads


class SilentReads(CachedReads):
    async def wrote(self, change):
        pass


def main(argv):
    role.CachedReads = SilentReads
    platform.main(argv)
