"""A program as the runtime starts them: answers /health, tells its configuration, and dials its links when asked.

`GET /links/<use>` dials the first link of that use and answers with what its /health says; `/config` is the JSON it was
given; `/child` makes a child process that sleeps. Settings: `exit` ends it at once, `deaf` ignores SIGTERM.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path


def main(argv: list[str]) -> None:
    config = json.loads(Path(argv[0]).read_text())
    if "exit" in config["settings"]:
        print("toy: told to exit", file=sys.stderr)
        raise SystemExit(config["settings"]["exit"])
    asyncio.run(_serve(config))


async def _serve(config: dict) -> None:
    async def answer(reader, writer):
        path = (await reader.readline()).split()[1].decode()
        while (await reader.readline()).strip():
            pass
        status, body = await _respond(config, path)
        head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + body.encode())
        await writer.drain()
        writer.close()

    listen = config["listen"]
    server = await asyncio.start_server(answer, listen["host"], listen["port"])
    ended = asyncio.Event()
    act = (lambda: print("toy: deaf")) if config["settings"].get("deaf") else ended.set
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, act)
    print(f"toy: {config['name']} serves", flush=True)
    async with server:
        await ended.wait()
    (Path(config["state_dir"]) / "goodbye").write_text("in good order")


async def _respond(config: dict, path: str) -> tuple[int, str]:
    if path == "/config":
        return 200, json.dumps(config)
    if path == "/child":
        pid = os.fork()
        if pid == 0:
            os.closerange(3, 256)  # the connection on which our parent answers is not ours
            signal.pause()
        return 200, str(pid)
    if path.startswith("/links/"):
        link = config["links"][path.removeprefix("/links/")][0]
        try:
            async with asyncio.timeout(5):
                return 200, await fetch(link["host"], link["port"], "/health")
        except (OSError, EOFError, TimeoutError) as error:
            return 502, type(error).__name__
    return 200, config["name"]


async def fetch(host: str, port: int, path: str) -> str:
    """The body of a GET; raises EOFError when the answer has no status line, OSError when nobody listens."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        raw = await reader.read()
    finally:
        writer.close()
    head, _, body = raw.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise EOFError(head.decode() or "no answer")
    return body.decode()
