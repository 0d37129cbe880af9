"""What all faults share: looking until a deadline, doing many things at once, naming what is not there."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from harness.fault import Proof
from harness.network.reach import Protocol, protocol_at, protocol_of
from harness.yamlspec import nearest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from harness.runtime.base import Address, Cluster

T = TypeVar("T")

SILENCE = 0.5  # s without a byte that count as "does not answer"; what is well answers in ms
VERIFY_WITHIN = 3.0  # s for a fault to show
HEAL_WITHIN = 10.0  # s for a cure to show: a node that was paused has much to catch up with
_POLL = 0.02


async def shown(look: Callable[[], Awaitable[Proof]], within: float) -> Proof:
    """Look again and again until it is shown or `within` s are over; then what was seen last."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within
    while True:
        proof = await look()
        if proof.bit or loop.time() >= deadline:
            return proof
        await asyncio.sleep(_POLL)


async def together(acts: Iterable[Awaitable[T]]) -> list[T]:
    """Do all at once and wait for all; then raise the first error, so that nothing is left running behind it."""
    done = await asyncio.gather(*acts, return_exceptions=True)
    for result in done:
        if isinstance(result, BaseException):
            raise result
    return [result for result in done if not isinstance(result, BaseException)]


def combined(proofs: list[Proof]) -> Proof:
    """Shown only if each is shown. Says what was seen of those that were not, else of all."""
    if not proofs:
        return Proof(bit=False, seen="there was nothing to look at")
    failed = [proof for proof in proofs if not proof.bit]
    return Proof(bit=not failed, seen="; ".join(proof.seen for proof in failed or proofs))


def require(kind: str, what: str, name: str, known: Iterable[str]) -> None:
    """Raise ValueError with the nearest valid name if `name` is not among the known."""
    known = set(known)
    if name not in known:
        raise ValueError(f"{kind}: no {what} is called '{name}'{nearest(name, known)}")


def door(cluster: Cluster, node: str) -> tuple[Address, Protocol]:
    """The node's own address, past all links, and what to say there."""
    return cluster.plan.node[node], protocol_of(cluster.plan.topology.nodes[node].role)


def link_door(cluster: Cluster, link: str) -> tuple[Address, Protocol]:
    """Where the link's source dials, and what to say to whoever is at its other end."""
    return cluster.plan.link[link], far_door(cluster, link)[1]


def far_door(cluster: Cluster, link: str) -> tuple[Address, Protocol]:
    """The link's far end, past the link."""
    plan = cluster.plan
    it = plan.topology.links[link]
    if it.port is None:
        return door(cluster, it.to)
    return plan.far_end(it), protocol_at(it.port)
