"""The origin's log of all changes: what every store of it must do."""

from __future__ import annotations

from typing import Protocol

from reference_impl.propagation.types import Change, Flag, FlagState, OrgState, Snapshot


class ChangeLog(Protocol):
    """Positions are gapless and in commit order. Each call ends within its timeout, or raises `CallError`."""

    async def put_flag(self, org: str, key: str, definition: Flag | None, at: int) -> Change:
        """Write a flag, or delete it (None). Returns once it is committed, never before.

        After `CallError` SERVICE_UNAVAILABLE nothing was written; after any other it may have been. `at`: Unix ns.
        """
        ...

    async def get(self, org: str, key: str) -> tuple[FlagState, int] | None:
        """The flag, and its organisation's version; None where there is no such flag."""
        ...

    async def list_org(self, org: str) -> OrgState | None:
        """All flags of an organisation; None where nothing was ever written for it."""
        ...

    async def snapshot(self) -> Snapshot:
        """Everything at one position."""
        ...

    async def changes_since(self, seq: int, limit: int) -> list[Change]:
        """At most `limit` changes after position `seq`, in order. Where the log begins later, so does the list."""
        ...

    async def news(self, within: float) -> None:
        """Return when something may have been written; after `within` s at the latest. Never raises `CallError`."""
        ...

    async def start(self) -> None:
        """Begin to connect; does not wait for it."""
        ...

    async def close(self) -> None: ...
