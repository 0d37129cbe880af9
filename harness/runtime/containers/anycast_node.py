"""First process in the containers of a router and of the PoPs behind it: `anycast_node.py router|pop ROUTING.json`.

Runs inside the image, on its own: nothing of squall is imported. It is root with few capabilities; bird and the PoP's program have
left root. When one of them ends so does the container, and SIGKILL to this process ends them all.

A PoP's announcer asks the program for `/announce` each 30 ms, takes the route back after three failures in a row, and gives
it again after 300 ms of good answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

CONTROL = "/run/squall/bird.ctl"
CONFIG = "/run/squall/bird.conf"
PROGRAM_USER = 10001
PORT = 8080
PERIOD, FAILURES, GOOD = 0.030, 3, 0.300  # s, in a row, s
ASK_WITHIN = 0.030
INTERFACES_WITHIN, BIRD_WITHIN = 20.0, 10.0


def ip(*words: str) -> None:
    subprocess.run(["/sbin/ip", *words], check=True, timeout=5)  # noqa: S603 - our own words


def say(*words: object) -> None:
    print("anycast:", *words, flush=True)


def write_config(config: str) -> None:
    """Where bird may make its socket too."""
    room = Path(CONFIG).parent
    room.mkdir(exist_ok=True)
    room.chmod(0o777)
    Path(CONFIG).write_text(config, encoding="utf-8")


async def bird(config: str) -> asyncio.subprocess.Process:
    """Start it as its own user, and wait until it answers."""
    write_config(config)
    # Not `bird -u`, which wants capabilities that it does not need afterwards.
    rights = "+net_admin,+net_raw,+net_bind_service"
    process = await asyncio.create_subprocess_exec(
        "setpriv", "--reuid", "bird", "--regid", "bird", "--clear-groups",
        "--inh-caps", rights, "--ambient-caps", rights,
        "bird", "-f", "-c", CONFIG, "-s", CONTROL,
    )  # fmt: skip
    loop = asyncio.get_running_loop()
    deadline = loop.time() + BIRD_WITHIN
    while process.returncode is None and loop.time() < deadline:
        with contextlib.suppress(OSError):
            await tell_bird("show status")
            return process
        await asyncio.sleep(0.01)
    raise SystemExit("anycast: bird did not start")


async def tell_bird(command: str) -> str:
    """One command; its last line, which begins with a code: 0 done, 8 and 9 refused."""
    reader, writer = await asyncio.open_unix_connection(CONTROL)
    with contextlib.closing(writer):
        await reader.readline()
        writer.write(command.encode() + b"\n")
        while True:
            line = (await reader.readline()).decode()
            if not line or (line[:4].isdigit() and line[4:5] == " "):
                return line.strip()


async def wake_bird() -> None:
    """BIRD 2.0.12 leaves an update unsent until something wakes its loop, which may be seconds later. This does."""
    reader, writer = await asyncio.open_unix_connection(CONTROL)
    await reader.readline()
    while True:
        writer.write(b"show status\n")
        while not (line := await reader.readline()).startswith(b"0013"):
            if not line:
                return
        await asyncio.sleep(0.05)


class Announcer:
    """Whether the network shall send users here: what the program itself says."""

    def __init__(self) -> None:
        self._connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self.announced = False

    def __repr__(self) -> str:
        return f"<Announcer {'announced' if self.announced else 'withdrawn'}>"

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        failures, good_since, due = 0, None, loop.time()
        while True:
            good = await self._good()
            now = loop.time()
            failures = 0 if good else failures + 1
            good_since = (now if good_since is None else good_since) if good else None
            if self.announced and failures >= FAILURES:
                await self._turn("disable")
            elif not self.announced and good_since is not None and now - good_since >= GOOD:
                await self._turn("enable")
            due = max(due + PERIOD, now)
            await asyncio.sleep(due - now)

    async def _turn(self, verb: str) -> None:
        said = await tell_bird(f"{verb} anycast")
        self.announced = verb == "enable"
        say(verb, said)

    async def _good(self) -> bool:
        try:
            async with asyncio.timeout(ASK_WITHIN):
                return await self._ask()
        except (OSError, asyncio.IncompleteReadError, ValueError):
            if self._connection is not None:
                self._connection[1].close()
                self._connection = None
            return False

    async def _ask(self) -> bool:
        if self._connection is None:
            self._connection = await asyncio.open_connection("127.0.0.1", PORT)
        reader, writer = self._connection
        writer.write(b"GET /announce HTTP/1.1\r\nHost: pop\r\n\r\n")
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = head.partition(b"content-length:")[2].split(b"\r\n")[0]
        await reader.readexactly(int(length or 0))
        return head.split(b" ", 2)[1] == b"200"


async def pop(told: dict[str, Any]) -> list[Awaitable[Any]]:
    ip("addr", "replace", f"{told['anycast']}/32", "dev", "lo")
    routing = await bird(told["bird"])
    program = await asyncio.create_subprocess_exec(*told["program"], preexec_fn=leave_root)
    return [routing.wait(), program.wait(), Announcer().run(), wake_bird()]


def leave_root() -> None:
    os.setgroups([])
    os.setresgid(PROGRAM_USER, PROGRAM_USER, PROGRAM_USER)
    os.setresuid(PROGRAM_USER, PROGRAM_USER, PROGRAM_USER)


async def router(told: dict[str, Any]) -> list[Awaitable[Any]]:
    door = (await interfaces(told["addresses"]))[told["door"]]
    # As proxy_arp, for this address alone, and without the delay by which the kernel lets others answer first.
    ip("ntable", "change", "name", "arp_cache", "dev", door, "proxy_delay", "0")
    ip("neigh", "replace", "proxy", told["anycast"], "dev", door)
    # While nobody announces it; else it would look like a neighbour on that network.
    ip("route", "replace", "unreachable", told["anycast"], "metric", "9999")
    for priority, (subnet, table) in enumerate(told["tables"].items(), 100):
        ip("rule", "add", "pref", str(priority), "from", subnet, "lookup", str(table))
    routing = await bird(told["bird"])
    return [routing.wait(), wake_bird()]


async def interfaces(addresses: list[str]) -> dict[str, str]:
    """Address to interface, when all are there: they are numbered in no order that could be known."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + INTERFACES_WITHIN
    while True:
        found = own_addresses()
        if set(addresses) <= set(found):
            return found
        if loop.time() > deadline:
            raise SystemExit(f"anycast: no interface has {set(addresses) - set(found)}")
        await asyncio.sleep(0.05)


def own_addresses() -> dict[str, str]:
    """Address to interface, as they are now."""
    listed = subprocess.run(
        ["/sbin/ip", "-j", "-4", "addr"], check=True, capture_output=True, timeout=5
    )
    return {a["local"]: i["ifname"] for i in json.loads(listed.stdout) for a in i["addr_info"]}


async def main(role: str, told: dict[str, Any]) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    start: Callable[[dict[str, Any]], Awaitable[list[Awaitable[Any]]]] = {
        "pop": pop,
        "router": router,
    }[role]
    tasks = [asyncio.ensure_future(part) for part in (*await start(told), stopping.wait())]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        if task.done() and (error := task.exception()) is not None:
            say("ends:", repr(error))
    os._exit(0 if stopping.is_set() else 1)  # the end of the first process is the end of all


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))))
