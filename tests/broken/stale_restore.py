"""A restore that brings back the last snapshot and forgets the WAL behind it."""

import shutil

from reference_impl import main as platform
from reference_impl.backup.restorer import Restorer


class StaleRestorer(Restorer):
    async def make_data_dir(self, until):
        point = await super().make_data_dir(until)
        wal = self.data_dir.with_name(f"{self.data_dir.name}-wal")
        shutil.rmtree(wal)
        wal.mkdir()
        return point


def main(argv):
    platform.main(argv, {**platform.ROLES, "restorer": StaleRestorer})
