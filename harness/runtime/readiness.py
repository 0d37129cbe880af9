"""Does a node answer? One question per role, asked at its own address; asked again until it does, or a deadline."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import asyncpg

if TYPE_CHECKING:
    from harness.runtime.base import Address

ASK_WITHIN = 2.0  # s for one question; an idle node answers in milliseconds
FIRST_PAUSE, LAST_PAUSE = 0.02, 0.2  # s between questions


async def asked(role: str, address: Address, within: float = ASK_WITHIN) -> str:
    """Empty when the node is ready, else what was seen."""
    ask = {"postgres": _postgres, "redis": _redis}.get(role, _program)
    try:
        async with asyncio.timeout(within):
            return await ask(address)
    except TimeoutError:
        return f"no answer within {within:g} s"
    except (OSError, EOFError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        return str(error) or type(error).__name__


async def until_ready(role: str, address: Address, within: float) -> str:
    """Empty as soon as it is ready; what was seen last when it is not `within` s."""
    loop = asyncio.get_running_loop()
    deadline, pause = loop.time() + within, FIRST_PAUSE
    while True:
        left = deadline - loop.time()
        seen = await asked(role, address, max(0.05, min(ASK_WITHIN, left)))
        if not seen or loop.time() + pause > deadline:
            return seen
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, LAST_PAUSE)


async def _program(address: Address) -> str:
    request = f"GET /health HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    status = (await _exchange(address, request.encode())).partition(b" ")[2][:3]
    return (
        ""
        if status == b"200"
        else f"/health answered {status.decode(errors='replace') or 'nothing'}"
    )


async def _redis(address: Address) -> str:
    answer = await _exchange(address, b"PING\r\n")
    return "" if answer == b"+PONG" else f"PING answered {answer.decode(errors='replace')}"


async def _postgres(address: Address) -> str:
    connection = await asyncpg.connect(
        host=address.host, port=address.port, user="squall", database="squall", ssl=False
    )
    try:
        return "" if await connection.fetchval("SELECT 1") == 1 else "SELECT 1 was not 1"
    finally:
        with contextlib.suppress(OSError, asyncpg.PostgresError):
            await connection.close()


async def _exchange(address: Address, request: bytes) -> bytes:
    """Send it, return the first line of the answer."""
    reader, writer = await asyncio.open_connection(address.host, address.port)
    try:
        writer.write(request)
        return (await reader.readline()).rstrip()
    finally:
        writer.transport.abort()
