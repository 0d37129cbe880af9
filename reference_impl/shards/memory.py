"""A database server of some shards, in memory. Clients of one `MemoryShards` share it, as processes share a server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reference_impl.propagation.types import Change, Flag, FlagState, OrgState
from reference_impl.resilience.errors import INVALID, CallError
from reference_impl.shards.base import NotOwner
from reference_impl.shards.shard import Owned, Shard


class MemoryShards:
    """A `ShardDatabase`. `broken`: the kind of error that every call raises now, or None."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.broken: str | None = None
        self._placed = False
        self._seq = 0
        self._owned: dict[Shard, Owned] = {}
        self._orgs: dict[str, OrgState] = {}
        self._log: list[Change] = []

    def __repr__(self) -> str:
        return f"<MemoryShards {self.name} {self.broken or 'well'} shards={len(self._owned)} orgs={len(self._orgs)}>"

    async def put_flag(self, org: str, key: str, definition: Flag | None, at: int) -> Change:
        found = self._find(org)
        version = found.version + 1 if found else 1
        change = Change(self._seq + 1, org, version, key, definition, at)
        self._apply(change)
        return change

    async def get(self, org: str, key: str) -> tuple[FlagState, int] | None:
        found = self._find(org)
        if found is None or key not in found.flags:
            return None
        return found.flags[key], found.version

    async def list_org(self, org: str) -> OrgState | None:
        found = self._find(org)
        return OrgState(found.version, dict(found.flags)) if found else None

    async def owned(self) -> list[Owned]:
        self._reach()
        return list(self._owned.values())

    async def organisations(self) -> list[str]:
        self._reach()
        return sorted(self._orgs)

    async def place(self, shards: Sequence[Shard]) -> None:
        self._reach()
        if not self._placed:
            self._owned |= {shard: Owned(shard) for shard in shards}
        self._placed = True

    async def split(self, shard: Shard) -> None:
        self._reach()
        whole = self._owned.pop(shard, None)
        if whole is not None:
            self._owned |= {half: Owned(half, whole.epoch, whole.open) for half in shard.halves}

    async def versions(self, shard: Shard) -> dict[str, int]:
        self._reach()
        return {org: state.version for org, state in self._orgs.items() if shard.has(org)}

    async def changes_after(
        self, shard: Shard, versions: Mapping[str, int], limit: int
    ) -> list[Change]:
        self._reach()
        wanted = [
            change
            for change in self._log
            if shard.has(change.org) and change.version > versions.get(change.org, 0)
        ]
        return wanted[:limit]

    async def replay(self, changes: Sequence[Change]) -> None:
        self._reach()
        has = {org: state.version for org, state in self._orgs.items()}
        fresh = []
        for change in changes:
            version = has.get(change.org, 0)
            if change.version > version + 1:
                raise CallError(
                    INVALID, f"{change.org}: {change.version} does not follow {version}"
                )
            if change.version == version + 1:
                has[change.org] = change.version
                fresh.append(change)
        for change in fresh:
            seq = max(self._seq + 1, change.seq)
            self._apply(Change(seq, change.org, change.version, change.key, change.flag, change.at))

    async def close_shard(self, shard: Shard) -> None:
        self._reach()
        if shard in self._owned:
            self._owned[shard] = Owned(shard, self._owned[shard].epoch, open=False)

    async def open_shard(self, shard: Shard, epoch: int) -> None:
        self._reach()
        if not any(
            one.of > shard.of and one.number % shard.of == shard.number for one in self._owned
        ):
            self._owned.setdefault(shard, Owned(shard, epoch))

    async def drop_shard(self, shard: Shard) -> None:
        self._reach()
        found = self._owned.get(shard)
        if found is None or found.open:
            return
        del self._owned[shard]
        self._orgs = {org: state for org, state in self._orgs.items() if not shard.has(org)}
        self._log = [change for change in self._log if not shard.has(change.org)]
        self._seq += 1

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    def _reach(self) -> None:
        if self.broken is not None:
            raise CallError(self.broken, self.name)

    def _find(self, org: str) -> OrgState | None:
        self._reach()
        if not any(one.open and one.shard.has(org) for one in self._owned.values()):
            raise NotOwner(org, self.name)
        return self._orgs.get(org)

    def _apply(self, change: Change) -> None:
        state = self._orgs.setdefault(change.org, OrgState())
        state.version = change.version
        if change.flag is None:
            state.flags.pop(change.key, None)
        else:
            state.flags[change.key] = FlagState(change.seq, change.flag)
        self._seq = change.seq
        self._log.append(change)
