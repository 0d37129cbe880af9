"""A real Redis cluster of three nodes, which the code under test brings up itself."""

import pytest

from reference_impl.config import Upstream
from tests.reference_impl.support import Server, find_program, own_host

PORT = 6379
OPTIONS = [
    "--cluster-enabled", "yes", "--cluster-require-full-coverage", "no", "--cluster-node-timeout", "2000",
    "--save", "", "--appendonly", "no", "--protected-mode", "no",
]  # fmt: skip


class Cluster:
    def __init__(self, servers):
        self.servers = servers

    @property
    def links(self):
        return [
            Upstream(f"cache-{n}", "redis", server.host, server.port, server.host)
            for n, server in enumerate(self.servers, 1)
        ]


@pytest.fixture(scope="module")
def redis_cluster(tmp_path_factory):
    program = find_program("redis-server")
    if program is None:
        pytest.skip("Redis is not installed")
    servers = []
    for _ in range(3):
        host, home = own_host(), tmp_path_factory.mktemp("cache")
        command = [program, "--bind", host, "--port", str(PORT), "--dir", str(home), *OPTIONS]
        servers.append(Server(command, host, PORT, home))
    try:
        for server in servers:
            server.start()
        yield Cluster(servers)
    finally:
        for server in servers:
            server.close()
