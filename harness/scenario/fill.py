"""The step `fill`: many made-up flags, written and seen to have arrived."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from harness.errors import RuntimeFailure
from harness.history import Filled
from harness.probes.write import made_up
from harness.scenario.observe import StatusWatch

if TYPE_CHECKING:
    from harness.probes import Site
    from harness.scenario.model import Fill


async def fill(site: Site, step: Fill) -> None:
    """Write them and record `Filled` when every node with levels has them. Raises `RuntimeFailure` where that takes too long."""
    made = await asyncio.to_thread(made_up, step.flags, step.size)
    within = float(step.within)
    seq = await site.write_flags(made, within=within)
    watch = StatusWatch(site)
    levelled = await watch.nodes_with_levels()
    missing = await watch.until(levelled, lambda status: status.version >= seq, within)
    if missing:
        raise RuntimeFailure(f"the flags were not at every node after {within:g} s: {missing}")
    written = sum(len(msgspec.json.encode(flag)) for flag in made.values())
    site.record(Filled(t=site.now(), flags=step.flags, size=written))
