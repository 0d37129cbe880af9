"""The cache of flag configurations in a Redis cluster.

A client of its own on redis-py's connections: each node has a breaker and a timeout of its own, so that the loss of one costs
only the slots that it has, and redirections lead to the link whose target is at the address that they name.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from redis.exceptions import AskError, MovedError

from reference_impl.cache.base import CacheSettings, Entry, Miss
from reference_impl.cache.node import CacheNode
from reference_impl.cache.slots import SLOTS, name_of, shares, slot_of
from reference_impl.cache.tend import Tender
from reference_impl.config import Upstream
from reference_impl.resilience.errors import INVALID, CallError
from reference_impl.web import Tasks

REDIRECTIONS: Final = 3

_NOW: Final = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
"""
# KEYS: entry; an empty one is whose who is to fill it. ARGV: ms for that. Answers [the node's time in ms, entry or false, whether
# it is the caller's to fill].
_LOOK: Final = (
    _NOW
    + """
local found = redis.call('GET', KEYS[1])
if found then return {now, found ~= '' and found, 0} end
redis.call('SET', KEYS[1], '', 'PX', ARGV[1])
return {now, false, 1}
"""
)
# KEYS: entry. ARGV: position, "position entry", until when in ms of the node's own clock.
_STORE: Final = (
    _NOW
    + """
if now >= tonumber(ARGV[3]) then return 0 end
local found = redis.call('GET', KEYS[1])
if found and found ~= '' and tonumber(string.match(found, '^%d+')) > tonumber(ARGV[1]) then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PXAT', ARGV[3])
return 1
"""
)
_encode = msgspec.json.encode
_entry = msgspec.json.Decoder(Entry).decode


class ClusterCache:
    """A `ConfigCache`. It brings the cluster up as well, and learns from it which node has which slots."""

    def __init__(self, links: Sequence[Upstream], settings: CacheSettings) -> None:
        if not links:
            raise ValueError("a cache needs a node")
        self.settings = settings
        self.nodes = {link.to: CacheNode(link, settings) for link in links}
        self._at = {link.address: link.to for link in links}
        self._owner: list[str] = [""] * SLOTS
        for name, slots in shares(tuple(self.nodes)):
            self._own(name, slots)
        self.tender = Tender(tuple(self.nodes.values()), settings.port)
        self.moved = 0
        self._closed = False
        self._tasks = Tasks()

    def __repr__(self) -> str:
        return f"<ClusterCache {list(self.nodes.values())} moved={self.moved}>"

    async def start(self) -> None:
        self._tasks.start(self._tend, "tend the cache")

    async def close(self) -> None:
        self._closed = True  # a cancellation can be lost within a connection attempt
        await self._tasks.stop()
        for node in self.nodes.values():
            await node.close()

    async def look(self, org: str, key: str, hold: float) -> Entry | Miss:
        node, answer = await self._script(_LOOK, name_of(org, key), max(1, round(hold * 1000)))
        try:
            now, found, ours = answer
            node.heard(int(now) / 1000)
            return Miss(bool(ours)) if found is None else _entry(found.partition(b" ")[2])
        except (TypeError, ValueError) as error:
            raise CallError(INVALID, f"{node.link.to}: {error}") from None

    async def store(self, org: str, key: str, entry: Entry, until: float) -> None:
        name = name_of(org, key)
        node = self._node(name)
        ahead = await node.learn_clock()  # by its clock the entry will end
        body = b"%d %s" % (entry.seq, _encode(entry))
        await self._script(_STORE, name, entry.seq, body, int((until + ahead) * 1000))

    def status(self) -> dict[str, Any]:
        return {
            "nodes": {
                name: {"state": node.breaker.state, "slots": self._owner.count(name)}
                for name, node in self.nodes.items()
            },
            "formed": self.tender.formed,
            "moved": self.moved,
        }

    async def _script(self, text: str, name: str, *args: Any) -> tuple[CacheNode, Any]:
        """Run it where the slot of `name` is; returns the node as well."""
        node, ask = self._node(name), False
        for _ in range(REDIRECTIONS):
            try:
                return node, await node.script(text, name, *args, ask=ask)
            except MovedError as elsewhere:
                self.moved += 1
                node, ask = self._follow(elsewhere), False
                self._own(node.link.to, range(elsewhere.slot_id, elsewhere.slot_id + 1))
            except AskError as elsewhere:
                node, ask = self._follow(elsewhere), True
        raise CallError(INVALID, f"cache: {name} is moved again and again")

    def _node(self, name: str) -> CacheNode:
        return self.nodes[self._owner[slot_of(name)]]

    def _follow(self, elsewhere: MovedError | AskError) -> CacheNode:
        """The node at the address that a redirection names, by the link that leads there. Raises `CallError`."""
        name = self._at.get(elsewhere.host)
        if name is None:
            raise CallError(INVALID, f"cache: no link to {elsewhere.host}")
        return self.nodes[name]

    def _own(self, name: str, slots: range) -> None:
        self._owner[slots.start : slots.stop] = [name] * len(slots)

    async def _tend(self) -> None:
        while not self._closed:
            with contextlib.suppress(CallError):
                for host, slots in await self.tender.tend():
                    if host in self._at:
                        self._own(self._at[host], slots)
            await asyncio.sleep(self.settings.tend)
