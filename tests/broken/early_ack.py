"""API servers that acknowledge a write before it is committed: half a second later it will be, if they still live."""

import asyncio

from reference_impl import main as platform
from reference_impl.api.role import Api
from reference_impl.propagation.types import Change

LATER = 0.5  # s


class HastyLog:
    def __init__(self, log):
        self._log = log
        self._promised = 0
        self._tasks = set()

    def __getattr__(self, name):
        return getattr(self._log, name)

    async def put_flag(self, org, key, definition, at):
        snapshot = await self._log.snapshot()
        self._promised = max(self._promised, snapshot.seq) + 1
        task = asyncio.create_task(self._commit(org, key, definition, at))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return Change(self._promised, org, 1, key, definition, at)

    async def _commit(self, org, key, definition, at):
        await asyncio.sleep(LATER)
        await self._log.put_flag(org, key, definition, at)


class HastyApi(Api):
    def __init__(self, config, env):
        super().__init__(config, env)
        self.log = HastyLog(self.log)


def main(argv):
    platform.main(argv, {**platform.ROLES, "api": HastyApi})
