"""API servers that ask every database where an organisation is before they write: the loss of one is felt by all."""

from reference_impl import main as platform
from reference_impl.api import role
from reference_impl.shards.log import ShardedChangeLog


class CarefulLog(ShardedChangeLog):
    async def _at_owner(self, org, call):
        for name, database in self._databases.items():
            self.map.learn(name, await database.owned())
        return await super()._at_owner(org, call)


def main(argv):
    role.ShardedChangeLog = CarefulLog
    platform.main(argv)
