"""Moving a platform's calendar on, so that what happens each day can be watched within minutes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from harness.history import Clock
from harness.probes.http import HttpFailure
from harness.target import fill, fill_headers, pointer
from harness.units import to_ns

if TYPE_CHECKING:
    from harness.probes.site import Site

_ASK_EVERY_S = 0.02
_ASK_WITHIN_S = 2.0


async def advance(site: Site, nodes: tuple[str, ...], by: float, within: float, moved: int) -> int:
    """Move `nodes` on by `by` s and wait until each says that it is settled; `moved`: ns so far. Returns the ns of this step.

    What is not so after `within` s is recorded, never raised.
    """
    site.target.require("clock", "status")
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within
    seen = await asyncio.gather(*(_move(site, node, by) for node in nodes))
    if not any(seen):
        seen = await asyncio.gather(*(_settled(site, node, deadline) for node in nodes))
    missing = "; ".join(f"{n}: {text}" for n, text in zip(nodes, seen, strict=True) if text)
    step = to_ns(by)
    site.record(
        Clock(
            t=site.now(),
            nodes=list(nodes),
            by=step,
            total=moved + step,
            settled=not missing,
            seen=missing,
        )
    )
    return step


async def _move(site: Site, node: str, by: float) -> str:
    """Empty when it was taken."""
    how = site.target.clock
    async with site.client(node) as client:
        try:
            answer = await client.request(
                how.method,
                how.path,
                headers=fill_headers(how.headers),
                body=fill(how.body, n=f"{by:g}").encode(),
                timeout=_ASK_WITHIN_S,
            )
        except HttpFailure as failure:
            return f"its clock was not moved: {failure.error}"
    return f"its clock was not moved: {answer.error}" if answer.error else ""


async def _settled(site: Site, node: str, deadline: float) -> str:
    """Empty as soon as it says so; at the deadline what it said last."""
    loop = asyncio.get_running_loop()
    settled = pointer(site.target.clock.settled)
    while True:
        status = await site.status(node, _ASK_WITHIN_S)
        if status.ok and settled(status.data) is True:
            return ""
        if loop.time() >= deadline:
            return (
                status.error or f"not settled: {status.data.get('error') or 'it does not say why'}"
            )
        await asyncio.sleep(_ASK_EVERY_S)
