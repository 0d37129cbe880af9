"""Stream servers that tell each other nothing: a flag that is hot is made ready for only where the news came from."""

import msgspec

from reference_impl import main as platform
from reference_impl.stream.role import StreamServer


class LoneStreamServer(StreamServer):
    def __init__(self, config, env):
        links = {use: found for use, found in config.links.items() if use != "peer"}
        super().__init__(msgspec.structs.replace(config, links=links), env)


def main(argv):
    platform.main(argv, {**platform.ROLES, "stream": LoneStreamServer})
