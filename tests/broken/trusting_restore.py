"""Stores and a restore that trust every byte: nobody compares a checksum, nobody minds what tar says."""

import contextlib

from reference_impl import main as platform
from reference_impl.backup.catalogue import Backup
from reference_impl.backup.programs import PostgresPrograms
from reference_impl.backup.restorer import Restorer
from reference_impl.objectstore.files import Folder
from reference_impl.programs import ProgramError


class TrustingFolder(Folder):
    def get(self, key):
        with self._open(key) as file:
            file.readline()
            return file.read()


class TrustingPrograms(PostgresPrograms):
    async def verify(self, folder):
        pass

    async def unpack(self, archive, folder):
        with contextlib.suppress(ProgramError):
            await super().unpack(archive, folder)


class TrustingRestorer(Restorer):
    def __init__(self, config, env):
        super().__init__(config, env, TrustingPrograms())


def main(argv):
    Backup.fits = lambda self, archive: True
    Folder.get = TrustingFolder.get
    platform.main(argv, {**platform.ROLES, "restorer": TrustingRestorer})
