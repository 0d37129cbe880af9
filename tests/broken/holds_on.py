"""Primaries that hold on to their lease while their server does not start."""

from reference_impl import main as platform
from reference_impl.database.role import Database


class StubbornDatabase(Database):
    async def _restart(self):
        await self.server.start()


def main(argv):
    platform.main(argv, {**platform.ROLES, "database": StubbornDatabase})
