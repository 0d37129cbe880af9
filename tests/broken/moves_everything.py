"""A growth that takes whole shards to other databases, those organisations too that keep their shard's number."""

from reference_impl import main as platform
from reference_impl.shards import role
from reference_impl.shards.hand_over import HandOver
from reference_impl.shards.journal import SPLIT, Move


class Rest(Move):
    @property
    def half(self):
        return self.shard.halves[0]


class GreedyHandOver(HandOver):
    async def step(self, move):
        await super().step(move)
        if move.next != SPLIT:
            await super().step(Rest(move.shard, move.source, move.target, move.done))


def main(argv):
    role.HandOver = GreedyHandOver
    platform.main(argv)
