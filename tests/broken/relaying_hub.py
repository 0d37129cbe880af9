"""A hub that is none: for each of its subscribers it opens a stream of its own at the origin."""

import asyncio

from reference_impl import main as platform
from reference_impl.hub.role import Hub


class RelayingHub(Hub):
    def __init__(self, config, env):
        super().__init__(config, env)
        serve = self.fanout.serve

        async def relayed(*how):
            more = asyncio.create_task(self._follow_too())
            try:
                await serve(*how)
            finally:
                more.cancel()

        self.fanout.serve = relayed

    async def _follow_too(self):
        url = f"{self.config.upstream('stream').url}/stream"
        async with self._http.session.get(url) as response:
            async for _ in response.content.iter_any():
                pass


def main(argv):
    platform.main(argv, {**platform.ROLES, "hub": RelayingHub})
