"""What the ledger says must be undone: said in words, looked at from outside, waited for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from harness.errors import RuntimeFailure
from harness.network.reach import probe, protocol_of
from harness.runtime import limits
from harness.runtime.base import NodeState
from harness.runtime.spot import Spot

if TYPE_CHECKING:
    from harness.fault import Undo
    from harness.runtime.base import Cluster

HEAL_WITHIN = 30.0  # s for a healed node or link to answer; PostgreSQL may have to recover first
ANSWER_WITHIN = 0.5  # s without a byte that count as "does not answer"
_POLL = 0.05  # s


async def condition(cluster: Cluster, undo: Undo) -> str:
    """One line: what it would undo, and whether that is so now."""
    try:
        lasts = await in_force(cluster, undo)
    except RuntimeFailure as error:
        return f"{words(undo)}, as recorded; it can't be looked at: {error}"
    return words(undo) if lasts else f"{words(undo)}, as recorded, but no longer"


def words(undo: Undo) -> str:  # noqa: PLR0911 - a table, one line for each
    """What is so as long as it has not been undone."""
    match undo.action:
        case "start":
            return f"{undo.subject} is down"
        case "resume":
            return f"{undo.subject} is paused"
        case "connect":
            return f"{undo.subject} is disconnected"
        case "restore":
            return f"{undo.subject} is cut"
        case "remove-toxic":
            return f"{undo.subject} has {undo.detail}"
        case "lift":
            return f"{undo.subject} can write nothing to disk"
        case "mend":
            return f"{undo.subject} has a flipped bit in {Spot.parse(undo.detail).path}"
    return f"{undo.subject}: {undo.action} is due"


async def in_force(cluster: Cluster, undo: Undo) -> bool:  # noqa: PLR0911 - as above
    """Whether what `undo` would undo is there, as the system or the link's proxy says."""
    if undo.action == "start":
        return cluster.state(undo.subject) is NodeState.EXITED
    if undo.action == "resume":
        return cluster.state(undo.subject) is NodeState.PAUSED
    if undo.action == "connect":
        return not await cluster.connected(undo.subject)
    if undo.action == "lift":
        return any(limits.limited(each.pid) for each in await cluster.processes(undo.subject))
    if undo.action == "mend":
        spot = Spot.parse(undo.detail)
        return spot.read(cluster.folder(undo.subject)) == spot.flipped
    link = await cluster.network.state(undo.subject)
    if undo.action == "restore":
        return not link.enabled
    return any(toxic.name == undo.detail for toxic in link.toxics)


async def healed(cluster: Cluster, undo: Undo) -> tuple[bool, str]:
    """Whether it is undone and the node or link answers, and what was seen last."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + HEAL_WITHIN
    while True:
        try:
            lasts = await in_force(cluster, undo)
            whole, seen = await _answers(cluster, undo.subject)
        except RuntimeFailure as error:
            lasts, whole, seen = True, False, str(error)
        if (whole and not lasts) or loop.time() > deadline:
            return whole and not lasts, f"{seen}, but {words(undo)}" if whole and lasts else seen
        await asyncio.sleep(_POLL)


async def _answers(cluster: Cluster, subject: str) -> tuple[bool, str]:
    """A node at its own address, or whoever is behind a link."""
    plan = cluster.plan
    link = plan.topology.links.get(subject)
    address = plan.link[subject] if link else plan.node[subject]
    role = plan.topology.nodes[link.to if link else subject].role
    reach = await probe(address, protocol_of(role), ANSWER_WITHIN)
    return reach.answered, f"{subject} {reach}"
