"""An archiver that does not wait for one flag's segments to be kept, and deletes its versions all the same."""

from reference_impl import main as platform
from reference_impl.archive.role import Archiver


class ForgetfulArchiver(Archiver):
    async def keep(self, changes):
        if changes[0].key != "b":
            await super().keep(changes)


def main(argv):
    platform.main(argv, {**platform.ROLES, "archiver": ForgetfulArchiver})
