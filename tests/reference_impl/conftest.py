"""Real PostgreSQL and Redis for the contract tests, each at an address of its own."""

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import asyncpg
import pytest

from tests.reference_impl.support import START_WITHIN, Server, as_nobody, find_program, own_host


async def _accepting(server):
    """Wait until PostgreSQL, which listens already, lets us in."""
    deadline = asyncio.get_running_loop().time() + START_WITHIN
    while True:
        try:
            connection = await asyncpg.connect(
                host=server.host, port=server.port, user="squall", database="postgres", timeout=5
            )
        except (asyncpg.CannotConnectNowError, OSError) as error:
            assert asyncio.get_running_loop().time() < deadline, repr(error)
            await asyncio.sleep(0.02)
        else:
            await connection.close(timeout=5)
            return


@pytest.fixture(scope="session")
def postgres_server():
    """One PostgreSQL for the session. Tests make databases of their own in it."""
    initdb, postgres = find_program("initdb"), find_program("postgres")
    if initdb is None or postgres is None:
        pytest.skip("PostgreSQL is not installed")
    home = Path(tempfile.mkdtemp(prefix="squall-pg-"))
    home.chmod(0o755)
    data = home / "data"
    data.mkdir()
    who = as_nobody()
    if who:
        os.chown(home, who["user"], who["group"])
        os.chown(data, who["user"], who["group"])
    data.chmod(0o700)
    host = own_host()
    env = {"PATH": os.environ["PATH"], "LC_ALL": "C", "HOME": str(home)}
    subprocess.run(
        [initdb, "-D", data, "-U", "squall", "-A", "trust", "-E", "UTF8", "--no-sync"],
        check=True, capture_output=True, timeout=60, cwd=home, env=env, **who,
    )  # fmt: skip
    server = Server(
        [postgres, "-D", data, "-h", host, "-k", "", "-c", "fsync=off"],
        host, 5432, home, stop=signal.SIGINT, env=env, **who,
    )  # fmt: skip
    try:
        server.start()
        asyncio.run(_accepting(server))
        yield server
    finally:
        server.close()
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def redis_server(tmp_path):
    """A Redis without a disk: started anew, it is empty."""
    program = find_program("redis-server")
    if program is None:
        pytest.skip("Redis is not installed")
    host = own_host()
    server = Server(
        [program, "--bind", host, "--port", "6379", "--save", "", "--appendonly", "no"],
        host, 6379, tmp_path,
    )  # fmt: skip
    try:
        server.start()
        yield server
    finally:
        server.close()
