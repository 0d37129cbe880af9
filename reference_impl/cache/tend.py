"""Bringing a Redis cluster up: each node gets its share of the slots and is told of the others. Idempotent, so every API server may."""

from __future__ import annotations

from collections.abc import Sequence

from redis.exceptions import AskError, MovedError

from reference_impl.cache.node import CacheNode
from reference_impl.cache.slots import SLOTS, Member, parse_nodes, shares
from reference_impl.resilience.errors import INVALID, CallError


class Tender:
    """`port`: where the nodes listen themselves, past all links; so they find each other."""

    def __init__(self, nodes: Sequence[CacheNode], port: int) -> None:
        self.formed = False  # each node that answers knows all others, and an owner of every slot
        self._nodes = tuple(nodes)
        self._port = port
        self._shares = dict(shares([node.link.to for node in nodes]))

    def __repr__(self) -> str:
        return f"<Tender of {len(self._nodes)} nodes {'formed' if self.formed else 'unformed'}>"

    async def tend(self) -> list[tuple[str, range]]:
        """Look at each node and mend what is missing. Returns, of each that answers, its address and slots of its own.

        Raises `CallError` where no node answers.
        """
        error: CallError | None = None
        views: dict[CacheNode, list[Member]] = {}
        for node in self._nodes:
            try:
                views[node] = parse_nodes((await node.command("CLUSTER", "NODES")).decode())
                await self._mend(node, views[node])
            except (CallError, MovedError, AskError, ValueError) as failure:
                error = (
                    failure if isinstance(failure, CallError) else CallError(INVALID, str(failure))
                )
        if not views:
            raise error or CallError(INVALID, "a cache without nodes")
        self.formed = all(self._whole(members) for members in views.values())
        own = ((node, each) for node, seen in views.items() for each in seen if each.myself)
        return [(node.link.address, slots) for node, each in own for slots in each.slots]

    def _whole(self, members: list[Member]) -> bool:
        known = sum(each.known for each in members)
        return known == len(self._nodes) and sum(each.slot_count for each in members) == SLOTS

    async def _mend(self, node: CacheNode, members: list[Member]) -> None:
        share = self._shares[node.link.to]
        taken = {slot for member in members for slots in member.slots for slot in slots}
        if missing := [slot for slot in share if slot not in taken]:
            await node.command("CLUSTER", "ADDSLOTS", *missing)
        known = {member.host for member in members if not member.myself}
        for other in self._nodes:
            if other is not node and other.link.address not in known:
                await node.command("CLUSTER", "MEET", other.link.address, self._port)
