"""API servers of the passive region that say yes to every write, though their database follows another and takes none."""

from reference_impl import main as platform
from reference_impl.api.role import Api
from reference_impl.resilience.errors import CallError
from reference_impl.web import json_response


class AgreeableApi(Api):
    async def _write(self, org, key, definition):
        try:
            return await super()._write(org, key, definition)
        except CallError:
            if self.config.region != "eu-west":
                raise
            return json_response({"org": org, "key": key, "version": 1, "seq": 1})


def main(argv):
    platform.main(argv, {**platform.ROLES, "api": AgreeableApi})
