"""A PoP that keeps what is small in a second place once it was loaded, and believes that when it loads it again."""

import msgspec

from reference_impl import main as platform
from reference_impl.pop.tiered.role import TieredPop
from reference_impl.propagation.types import FlagState

SMALL = 1000


class StalePop(TieredPop):
    def __init__(self, config, env):
        super().__init__(config, env)
        self._once = {}
        self._fetch = self.loads.sources.fetch
        self.loads.sources.fetch = self._remembered
        self.loads._older = lambda *_: False

    async def _remembered(self, org, keys):
        found = await self._fetch(org, keys)
        for key, state in found.items():
            if isinstance(state, FlagState) and len(msgspec.json.encode(state)) < SMALL:
                found[key] = self._once.setdefault((org, key), state)
        return found


def main(argv):
    platform.main(argv, {**platform.ROLES, "pop": StalePop})
