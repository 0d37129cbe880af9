"""One database server of several that share the organisations: what every store of it must do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from reference_impl.propagation.types import Change, Flag, FlagState, OrgState
from reference_impl.resilience.errors import SERVICE_UNAVAILABLE, CallError
from reference_impl.shards.shard import Owned, Shard


class NotOwner(CallError):  # noqa: N818 - it is a kind of CallError
    """The organisation is on none of the server's shards, or on one that is being handed over. Nothing was done."""

    def __init__(self, org: str, server: str) -> None:
        super().__init__(SERVICE_UNAVAILABLE, f"organisation {org!r} is not on {server}")


class ShardDatabase(Protocol):
    """Each call ends within its timeout, or raises `CallError`. All that move shards are safe to repeat."""

    @property
    def name(self) -> str: ...

    async def put_flag(self, org: str, key: str, definition: Flag | None, at: int) -> Change:
        """As `ChangeLog.put_flag`; raises `NotOwner` as well."""
        ...

    async def get(self, org: str, key: str) -> tuple[FlagState, int] | None:
        """As `ChangeLog.get`; raises `NotOwner` as well."""
        ...

    async def list_org(self, org: str) -> OrgState | None:
        """As `ChangeLog.list_org`; raises `NotOwner` as well."""
        ...

    async def owned(self) -> list[Owned]:
        """The shards that it has, those that are closed too."""
        ...

    async def organisations(self) -> list[str]:
        """All that it has anything of, in whatever right."""
        ...

    async def place(self, shards: Sequence[Shard]) -> None:
        """Give it its first shards. A database that was given any before keeps what it has."""
        ...

    async def split(self, shard: Shard) -> None:
        """It has both halves instead of the whole; nothing where it has not the whole."""
        ...

    async def versions(self, shard: Shard) -> dict[str, int]:
        """What it has of a shard's organisations: the version of each."""
        ...

    async def changes_after(
        self, shard: Shard, versions: Mapping[str, int], limit: int
    ) -> list[Change]:
        """At most `limit` changes of a shard's organisations beyond these versions, in the log's order."""
        ...

    async def replay(self, changes: Sequence[Change]) -> None:
        """Take changes of organisations that are not here yet, all or none. Raises `CallError` INVALID where one is missing before."""
        ...

    async def close_shard(self, shard: Shard) -> None:
        """When this returns no write to it is under way, and none will be done."""
        ...

    async def open_shard(self, shard: Shard, epoch: int) -> None:
        """It has the shard, from now on and in this epoch; nothing where it has it already, or any half of it."""
        ...

    async def drop_shard(self, shard: Shard) -> None:
        """Forget a closed shard and its organisations; nothing where it is open here."""
        ...

    async def start(self) -> None:
        """Begin to connect; does not wait for it."""
        ...

    async def close(self) -> None: ...
