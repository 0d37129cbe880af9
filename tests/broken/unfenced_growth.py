"""A hand-over that does not close the shard where it was: for a while two databases take writes of its organisations."""

import asyncio

from reference_impl import main as platform
from reference_impl.shards import role
from reference_impl.shards.hand_over import HandOver

WHILE = 0.7  # s


class HastyHandOver(HandOver):
    async def close(self, move):
        pass

    async def drop(self, move):
        await asyncio.sleep(WHILE)
        await super().close(move)
        await super().drop(move)


def main(argv):
    role.HandOver = HastyHandOver
    platform.main(argv)
